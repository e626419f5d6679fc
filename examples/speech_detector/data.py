"""Puts vad.onnx and calibration/ here: silero-vad, and what it reads along a sound, window by window.

    python -m examples.speech_detector.data

No package here carries recorded speech, so the sound is made: vowels of three formants at a gliding pitch, in
words and pauses, in noise. The model hears them as speech; they say nothing about its accuracy on people.
"""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import onnxruntime as ort

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    Floats = NDArray[np.float32]

RATE, WINDOW, CONTEXT, SECONDS, KEPT = 16_000, 512, 64, 8, 40
# First three formants in Hz of a, i, u, e, o (Peterson and Barney 1952, men).
_VOWELS = ((730, 1090, 2440), (270, 2290, 3010), (300, 870, 2240), (530, 1840, 2480), (570, 840, 2410))


def model_file() -> Path:
    """The variant of silero-vad for 16 kHz without branches; SystemExit where it is not installed."""
    spec = find_spec("silero_vad")
    if spec is None or not spec.submodule_search_locations:
        raise SystemExit("the model is missing: pip install --no-deps silero-vad==6.2.3")
    return Path(spec.submodule_search_locations[0]) / "data" / "silero_vad_op18_ifless.onnx"


def make_sound(seed: int) -> Floats:
    """SECONDS of words of one to four vowels, pauses between them, and noise 30 dB below."""
    rng = np.random.default_rng(seed)
    sound = np.zeros(RATE * SECONDS)
    place = RATE // 2
    while True:
        for _ in range(rng.integers(1, 5)):
            vowel = make_vowel(_VOWELS[rng.integers(len(_VOWELS))], rng)
            if place + len(vowel) > len(sound):
                return (sound + rng.normal(0, 0.01, len(sound))).astype(np.float32)
            sound[place : place + len(vowel)] += vowel
            place += len(vowel) * 9 // 10
        place += int(RATE * rng.uniform(0.2, 0.8))


def make_vowel(formants: tuple[int, ...], rng: np.random.Generator) -> NDArray[np.float64]:
    """A tenth to a quarter of a second: harmonics of a gliding pitch, loudest near the formants."""
    time = np.arange(int(RATE * rng.uniform(0.1, 0.25))) / RATE
    pitch = rng.uniform(100, 140) * (1 + rng.uniform(-0.2, 0.2) * time / time[-1])
    phase = 2 * np.pi * np.cumsum(pitch) / RATE
    wave = np.zeros_like(time)
    for harmonic in range(1, 30):
        near = sum(1 / (1 + ((harmonic * pitch[0] - formant) / 90) ** 2) for formant in formants)
        wave += near / harmonic**0.5 * np.sin(harmonic * phase)
    made: NDArray[np.float64] = 0.3 * np.hanning(len(time)) ** 0.3 * wave / np.abs(wave).max()
    return made


def list_windows(
    session: ort.InferenceSession, sound: Floats
) -> Iterator[tuple[dict[str, np.ndarray], float]]:
    """What the model is fed at each window, its own state carried on, and the probability of speech."""
    state = np.zeros((2, 1, 128), np.float32)
    padded = np.concatenate((np.zeros(CONTEXT, np.float32), sound))
    for start in range(0, len(sound) - WINDOW + 1, WINDOW):
        feeds = {"input": padded[None, start : start + CONTEXT + WINDOW], "state": state}
        rate = {"sr": np.array(RATE)} if len(session.get_inputs()) > len(feeds) else {}
        output, state = (np.asarray(one) for one in session.run(["output", "stateN"], feeds | rate))
        yield feeds, float(output[0, 0])


def write_data(folder: Path) -> None:
    """The model, and KEPT windows of one sound, evenly spread."""
    (folder / "vad.onnx").write_bytes(model_file().read_bytes())
    quiet = ort.SessionOptions()
    quiet.log_severity_level = 3
    session = ort.InferenceSession(str(folder / "vad.onnx"), quiet, providers=["CPUExecutionProvider"])
    seen = list(list_windows(session, make_sound(1)))
    (folder / "calibration").mkdir()
    for index in range(KEPT):
        feeds, _ = seen[index * len(seen) // KEPT]
        np.savez(folder / "calibration" / f"{index:04d}.npz", allow_pickle=False, **feeds)
    heard = sum(chance > 0.5 for _, chance in seen) / len(seen)
    print(f"vad.onnx and calibration/ are here; it hears speech in {heard:.0%} of the sound")


if __name__ == "__main__":
    write_data(Path())
