"""From arrays to encoded pictures, sounds and films. What encodes them is imported when it is needed."""

from __future__ import annotations

import importlib
import io
import wave
from fractions import Fraction
from typing import Any

from windlass.errors import UsageError

__all__ = ["FPS", "encoded_image", "encoded_sound", "encoded_video"]

FPS = 4.0
"""Frames per second of a film of which nothing is said."""

_CODECS = {"mp4": "h264", "webm": "libvpx-vp9"}
_CHANNELS = (1, 3, 4)
_SHAPE = "time × channel × height × width, or time × height × width [× channel]; 1, 3 or 4 channels."


def encoded_image(value: Any, mode: str | None) -> bytes:
    """A PNG of a Matplotlib figure, a Pillow image or an array. Raises `UsageError`."""
    buffer = io.BytesIO()
    if hasattr(value, "savefig"):  # a Matplotlib figure
        value.savefig(buffer, format="png")
        return buffer.getvalue()
    pillow = _pillow(f"a {type(value).__name__} needs Pillow to become an image")
    if not isinstance(value, pillow.Image):
        array = _array(value)
        if array.ndim == 3 and array.shape[2] == 1:
            array = array[:, :, 0]
        if array.ndim not in (2, 3) or (array.ndim == 3 and array.shape[2] not in (3, 4)):
            raise UsageError(f"an array of shape {array.shape} is no picture", hint="height × width [× 1, 3 or 4].")
        value = pillow.fromarray(_pixels(array))
        if mode:
            value = value.convert(mode)
    value.save(buffer, format="PNG")
    return buffer.getvalue()


def encoded_sound(samples: Any, rate: int) -> bytes:
    """A WAV of samples."""
    import numpy as np

    array = np.asarray(samples)
    if array.dtype.kind == "f":
        array = (np.clip(array, -1, 1) * 32767).round()
    array = array.astype("<i2")
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as file:
        file.setnchannels(1 if array.ndim == 1 else array.shape[1])
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(array.tobytes())
    return buffer.getvalue()


def encoded_video(frames: Any, fps: float, format: str) -> bytes:
    """A film of an array of frames as ``gif``, ``mp4`` or ``webm``. Raises `UsageError`, also without an encoder."""
    format = format.lstrip(".").lower()
    if format != "gif" and format not in _CODECS:
        raise UsageError(
            f"frames cannot be encoded as '{format}'",
            hint=f"Known: gif, {', '.join(_CODECS)}; or encode them yourself.",
        )
    if not 0 < fps < 1000:
        raise UsageError(f"a film cannot have {fps} frames per second", hint="Pass fps=25 or so.")
    pixels = _pixels(_channels_last(_array(frames)))
    return _gif(pixels, fps) if format == "gif" else _film(pixels, fps, format)


def _gif(frames: Any, fps: float) -> bytes:
    pillow = _pillow("frames need Pillow to become a gif")
    first, *others = [pillow.fromarray(frame[:, :, 0] if frame.shape[2] == 1 else frame) for frame in frames]
    buffer = io.BytesIO()
    first.save(buffer, format="GIF", save_all=True, append_images=others, duration=round(1000 / fps), loop=0)
    return buffer.getvalue()


def _film(frames: Any, fps: float, format: str) -> bytes:
    import numpy as np

    try:
        av = importlib.import_module("av")
    except ImportError:
        raise UsageError(
            f"frames need PyAV to become {format}",
            hint="pip install av, or take format='gif', which needs only Pillow.",
        ) from None
    colours = np.broadcast_to(frames, (*frames.shape[:3], 3)) if frames.shape[3] == 1 else frames[:, :, :, :3]
    # these codecs keep colours at half the resolution: an odd edge is doubled
    colours = np.pad(colours, ((0, 0), (0, frames.shape[1] % 2), (0, frames.shape[2] % 2), (0, 0)), mode="edge")
    buffer = io.BytesIO()
    # without a time or a random number in it: the same frames are the same bytes, and no new version
    with av.open(buffer, "w", format=format, options={"fflags": "+bitexact"}) as container:
        stream = container.add_stream(_CODECS[format], rate=Fraction(fps).limit_denominator(1000))
        stream.height, stream.width, stream.pix_fmt = *colours.shape[1:3], "yuv420p"
        for pixels in colours:
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return buffer.getvalue()


def _channels_last(array: Any) -> Any:
    """Frames as time × height × width × channel."""
    if array.ndim == 5:
        raise UsageError(f"an array of shape {array.shape} is several films", hint="Make a Video of each.")
    if array.ndim == 3:
        array = array[:, :, :, None]
    elif array.ndim == 4 and array.shape[1] in _CHANNELS:
        array = array.transpose(0, 2, 3, 1)
    if array.ndim != 4 or array.shape[3] not in _CHANNELS or not array.size:
        raise UsageError(f"an array of shape {array.shape} is no film", hint=_SHAPE)
    return array


def _array(value: Any) -> Any:
    import numpy as np

    return np.asarray(value.detach().cpu() if hasattr(value, "detach") else value)


def _pixels(array: Any) -> Any:
    """Integers as they are, floats from 0 to 1, and truth values, as bytes."""
    import numpy as np

    if array.dtype.kind == "f":
        array = (np.clip(array, 0, 1) * 255).round()
    elif array.dtype.kind == "b":
        array = array * np.uint8(255)
    return array.astype("uint8")


def _pillow(why: str) -> Any:
    try:
        from PIL import Image  # type: ignore[import-not-found,unused-ignore]
    except ImportError:
        raise UsageError(why, hint="pip install pillow") from None
    return Image
