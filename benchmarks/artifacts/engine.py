"""The same work by the artifact engine. Each command is one process; WINDLASS_HOME says where its store is."""

import sys


def main(command: str, *args: str) -> None:
    from windlass.artifacts.artifact import Artifact
    from windlass.artifacts.engine import ArtifactEngine
    from windlass.plugins.app import App
    from windlass.settings import Settings

    settings = Settings.from_env()
    app = App(settings)
    store = app.open_store()
    engine = ArtifactEngine(app, store, settings)
    if command == "put":
        artifact = Artifact("bench", "dataset")
        artifact.add_dir(args[0])
        engine.log(artifact)
        print(artifact.version)
    elif command == "checkout":
        engine.download(engine.get("bench").manifest, args[0], link=args[1])
    store.close()
    app.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
