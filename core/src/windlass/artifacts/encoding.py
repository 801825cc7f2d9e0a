"""From arrays to encoded pictures, sounds and films. What encodes them is imported when it is needed."""

from __future__ import annotations

import importlib
import io
import math
import struct
import wave
from fractions import Fraction
from typing import Any

from windlass.errors import UsageError

__all__ = ["FPS", "encoded_image", "encoded_sound", "encoded_video", "number", "plain"]

FPS = 4.0
"""Frames per second of a film of which nothing is said."""

_CODECS = {"mp4": "h264", "webm": "libvpx-vp9"}
_AS_PNG = {
    "CMYK": "RGB", "HSV": "RGB", "LAB": "RGB", "YCbCr": "RGB", "RGBX": "RGB",
    "RGBa": "RGBA", "PA": "RGBA", "La": "LA", "I": "I;16",
}  # fmt: skip
"""What Pillow images are converted to whose mode PNG does not have."""
_CHANNELS = (1, 3, 4)
_BRINGS = "pip install 'windlass-core[media]'"
_SHAPE = "time × channel × height × width, or time × height × width [× channel]; 1, 3 or 4 channels."


def encoded_image(value: Any, mode: str | None) -> bytes:
    """A PNG of a Matplotlib figure, a Pillow image or an array. Raises `UsageError`."""
    if hasattr(value, "savefig"):  # a Matplotlib figure
        buffer = io.BytesIO()
        value.savefig(buffer, format="png")
        return buffer.getvalue()
    pillow = _pillow(f"a {type(value).__name__} needs Pillow to become an image")
    if isinstance(value, pillow.Image):
        return _png(value)
    array = _array(value)
    if array.ndim == 3 and array.shape[2] == 1:
        array = array[:, :, 0]
    if array.ndim not in (2, 3) or (array.ndim == 3 and array.shape[2] not in (3, 4)) or not array.size:
        raise UsageError(f"an array of shape {array.shape} is no picture", hint="height × width [× 1, 3 or 4].")
    picture = pillow.fromarray(_pixels(array))
    if mode:
        try:
            picture = picture.convert(mode)
        except ValueError as error:
            raise UsageError(
                f"an array of shape {array.shape} cannot become a picture of the mode '{mode}': {error}",
                hint="Leave mode out, or pass a mode of Pillow, such as 'L' or 'RGB'.",
            ) from error
    return _png(picture)


def _png(picture: Any) -> bytes:
    """A Pillow image as PNG; colours that PNG does not know are converted."""
    if picture.mode == "F" or (picture.mode == "I" and not _fits_16_bits(picture)):
        raise UsageError(
            f"a picture of the mode '{picture.mode}' has values that PNG cannot hold",
            hint="Pass an array of floats from 0 to 1 (numpy.asarray(image) / largest), or image.convert('L').",
        )
    buffer = io.BytesIO()
    try:
        picture = picture.convert(_AS_PNG[picture.mode]) if picture.mode in _AS_PNG else picture
        picture.save(buffer, format="PNG")
    except (OSError, ValueError, SystemError) as error:
        raise UsageError(
            f"a picture of the mode '{picture.mode}' and the size {picture.size} cannot be encoded as PNG: {error}",
            hint="Convert it: image.convert('RGB').",
        ) from error
    return buffer.getvalue()


def _fits_16_bits(picture: Any) -> bool:
    least, largest = picture.getextrema()
    return bool(least >= 0 and largest < 1 << 16)


def encoded_sound(samples: Any, rate: float) -> bytes:
    """A WAV of 16 bits of samples: of floats from -1 to 1, or of integers of 16 or (as soundfile takes them) 32 bits.

    Raises:
        UsageError: They are no samples, or it is not known how loud they are.
    """
    array = _array(samples)
    import numpy as np

    if array.ndim not in (1, 2) or (array.ndim == 2 and array.shape[1] not in range(1, 1 << 16)):
        raise UsageError(f"an array of shape {array.shape} is no sound", hint="time, or time × channel.")
    if array.dtype.kind == "f":
        if np.isnan(array).any():
            raise UsageError("a sample is not a number (NaN)", hint="Replace it: numpy.nan_to_num(samples).")
        array = (np.clip(array, -1, 1) * 32767).round()
    elif array.dtype.kind == "i" and array.dtype.itemsize == 4:
        array = array >> 16  # the whole range of 32 bits
    elif array.dtype.kind != "i" or array.dtype.itemsize == 1 or not _within(array, -32768, 32767):
        raise UsageError(
            f"samples of the type {array.dtype}{_range(array)} are no 16-bit samples",
            hint="Pass floats from -1 to 1 (samples / largest possible), or integers of the type int16 or int32.",
        )
    array = array.astype("<i2")
    buffer = io.BytesIO()
    try:
        with wave.open(buffer, "wb") as file:
            file.setnchannels(1 if array.ndim == 1 else array.shape[1])
            file.setsampwidth(2)
            file.setframerate(rate)
            file.writeframes(array.tobytes())
    except (wave.Error, struct.error) as error:
        raise UsageError(f"samples cannot become a sound: {error}", hint="Check sample_rate.") from error
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
            hint=f"{_BRINGS}, or take format='gif', which needs only Pillow.",
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


def plain(value: Any) -> Any:
    """Arrays and numbers of NumPy and the like, also in sequences, as those of Python."""
    if hasattr(value, "tolist"):
        return value.tolist()
    return [plain(item) for item in value] if isinstance(value, (list, tuple)) else value


def number(value: Any, what: str) -> int | float:
    """A number as Python's and JSON's. Raises `UsageError`."""
    try:
        value = plain(value)
        found = value if isinstance(value, int) else float(value)
        if math.isfinite(found):
            return found
    except (OverflowError, TypeError, ValueError):
        pass
    raise UsageError(f"{what} must be a number, not {value!r}", hint="Pass an integer or a float.")


def _array(value: Any) -> Any:
    try:
        import numpy as np
    except ImportError:
        raise UsageError(f"a {type(value).__name__} needs NumPy to become an array", hint=_BRINGS) from None
    try:
        return np.asarray(value.detach().cpu() if hasattr(value, "detach") else value)
    except ValueError as error:  # rows of several lengths
        raise UsageError(f"a {type(value).__name__} is no array: {error}", hint="Give all rows one length.") from error


def _pixels(array: Any) -> Any:
    """Integers from 0 to 255 as they are, floats from 0 to 1, and truth values, as bytes."""
    import numpy as np

    kind = array.dtype.kind
    if kind == "f":
        if np.isnan(array).any():
            raise UsageError("a pixel is not a number (NaN)", hint="Replace it: numpy.nan_to_num(pixels).")
        array = (np.clip(array, 0, 1) * 255).round()
    elif kind == "b":
        array = array * np.uint8(255)
    elif kind not in "iu" or not _within(array, 0, 255):
        raise UsageError(
            f"pixels of the type {array.dtype}{_range(array)} are no integers from 0 to 255 and no floats from 0 to 1",
            hint="Scale them to floats: pixels / 65535 for 16 bits, or (pixels - least) / (largest - least).",
        )
    return array.astype("uint8")


def _within(array: Any, least: int, largest: int) -> bool:
    return not array.size or (int(array.min()) >= least and int(array.max()) <= largest)


def _range(array: Any) -> str:
    return f" from {array.min()} to {array.max()}" if array.dtype.kind in "iu" and array.size else ""


def _pillow(why: str) -> Any:
    try:
        from PIL import Image  # type: ignore[import-not-found,unused-ignore]
    except ImportError:
        raise UsageError(why, hint=_BRINGS) from None
    return Image
