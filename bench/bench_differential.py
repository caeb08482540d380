"""How often the device's TUF client and python-tuf's were compared, and with what verdicts.

    bench/bench_differential.py [STORIES] [FIRST]     200 stories from seed 0: some minutes

The stories are those of tests/device/core/test_tuf_differential.py. Prints any difference that docs/differences.md does
not explain, and ends with 1 if there was one.
"""

import json
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "tests" / "device" / "core"))

from test_tuf_differential import CHAPTERS, COMPARED, Explained, Story  # noqa: E402 - found by the line above
from tuf_memory import fast_signatures  # noqa: E402

EVERY = 10  # stories between two signs of life


def tell(seed: int) -> str:
    """One story; what went wrong in it, or nothing."""
    with tempfile.TemporaryDirectory() as folder, fast_signatures():
        story = Story(seed, Path(folder))
        try:
            for _ in range(CHAPTERS):
                story.chapter()
        except Explained:
            pass
        except AssertionError as error:
            return f"seed {seed}: {error}"
    return ""


def main() -> None:
    count, first = (int(argument) for argument in (*sys.argv[1:3], *("200", "0")[len(sys.argv) - 1 :]))
    unexplained = 0
    for seed in range(first, first + count):
        trouble = tell(seed)
        unexplained += bool(trouble)
        if trouble:
            print(trouble)
        if not (seed - first + 1) % EVERY:
            print(f"{seed - first + 1} stories: {COMPARED}", file=sys.stderr)
    figures = {"stories": count, "unexplained": unexplained, **COMPARED}
    print(json.dumps(figures, indent=2))
    (HERE / "out").mkdir(exist_ok=True)
    (HERE / "out" / "differential.json").write_text(json.dumps(figures, indent=2) + "\n")
    sys.exit(bool(unexplained))


if __name__ == "__main__":
    main()
