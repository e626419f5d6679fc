"""A second convert with nothing changed: its time, beside the first.

    python -m benchmarks.cached_rerun     (half a minute)

PP-OCRv4's angle classifier and recognizer, INT8 for both targets, 32 labelled samples; the limit is 2 s.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from benchmarks.measure import Cost, Jobs, print_table, run_job, run_process, serve_job

NAME = "benchmarks.cached_rerun"
LIMIT_S = 2.0
COUNT = 32
SHAPES = {"rec": "x=1,3,48,320", "cls": "x=1,3,48,192"}
METRICS = {"rec": "cer", "cls": "top1"}


def prepare_samples(work: str) -> dict[str, str]:
    """Render the samples of both models with their labels; where the models lie."""
    from examples.rendered_text import (
        find_model,
        render_turned_words,
        render_words,
        save_samples,
        to_cls_input,
        to_rec_input,
    )

    words, turned = render_words("calibration", COUNT), render_turned_words("calibration", COUNT)
    texts, angles = [word.text for word in words], [angle for _, angle in turned]
    save_samples((to_rec_input(word.image) for word in words), Path(work) / "rec-samples", labels=texts)
    save_samples((to_cls_input(image) for image, _ in turned), Path(work) / "cls-samples", labels=angles)
    return {"rec": str(find_model("rec")), "cls": str(find_model("cls"))}


JOBS: Jobs = {"prepare": prepare_samples}


def convert_model(model: str, kind: str, *, work: str) -> Cost:
    """`edgekit convert` as typed, in a process of its own."""
    command = ["env", f"XDG_CACHE_HOME={work}/cache", str(Path(sys.executable).parent / "edgekit"), "convert"]
    targets = ["--target", "jetson-orin", "--target", "ort-mobile", "--precision", "int8"]
    samples = ["--samples", f"{work}/{kind}-samples", "--shape", SHAPES[kind], "--metric", METRICS[kind]]
    places = ["-o", f"{work}/{kind}", "--overwrite"]
    return run_process([*command, model, *targets, *samples, *places])


def main() -> None:
    """Convert each model twice and print both times."""
    if serve_job(JOBS):
        return
    rows = []
    with tempfile.TemporaryDirectory() as work:
        models = run_job(NAME, "prepare", work).result
        for kind, model in models.items():
            first, second = (convert_model(model, kind, work=work) for _ in range(2))
            verdict = "yes" if second.wall_s < LIMIT_S else "no"
            rows.append((kind, first.wall_s, second.wall_s, second.user_s, verdict))
    print_table(
        "convert again, nothing changed, one core",
        ("", "first s", "again s", "again user s", f"under {LIMIT_S:.0f} s"),
        rows,
    )


if __name__ == "__main__":
    main()
