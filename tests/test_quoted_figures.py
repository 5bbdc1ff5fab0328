"""A figure that a page quotes is the one in the committed output of its benchmark."""

import re

import pytest

from tests.conftest import REPOSITORY

ENGINE, SCAN, RANKS, REMOTE = "engine.txt", "scan_llama31_8b_shapes.txt", "ranks.txt", "remote.txt"
REPORT, TRAINING, FORMATS, CUDA = "report.txt", "training.txt", "formats.txt", "cuda.txt"
PERFORMANCE, TRUST, EVIDENCE = "docs/performance.md", "docs/trust.md", "docs/evidence.md"
TUTORIAL, ESTIMATORS = "docs/tutorials/llama31_8b.md", "docs/estimators.md"

# page and where the figure stands in it; file in benchmarks/results and where it stands there. One group per figure.
QUOTED = [
    (PERFORMANCE, r"`exact` against the reference \|.*\| ([\d.]+) ×", ENGINE, r"exact is ([\d.]+) x"),
    (PERFORMANCE, r"the bare fp64 calls \|.*\| ([\d.]+) ×", ENGINE, r"exact takes ([\d.]+) x"),
    (PERFORMANCE, r"WeightWatcher .*\| ([\d.]+) × \|", ENGINE, r"exact, three: ([\d.]+) x"),
    (PERFORMANCE, r"seconds for a 4096×4096 .*\| ([\d.]+) \|", ENGINE, r"q, o +\d+ +([\d.]+)"),
    (PERFORMANCE, r"factor of 3 within the ([\d.]+)", ENGINE, r"exact is ([\d.]+) x"),
    (PERFORMANCE, r"journal \|.*\| ([\d.]+) s", SCAN, r"run.json: ([\d.]+) s"),
    (PERFORMANCE, r"peak resident memory \|.*\| ([\d.]+) GB", SCAN, r"^peak resident memory ([\d.]+) GB"),
    (PERFORMANCE, r"with int4 too.*\| ([\d.]+) GB", SCAN, r"lm_head: peak resident memory ([\d.]+) GB"),
    (PERFORMANCE, r"in FP8 blocks.*\| ([\d.]+) GB", "stored_quantization.txt", r"peak ([\d.]+) GB"),
    (PERFORMANCE, r"one rank \|.*\| ([\d.]+) ×", RANKS, r"2 ranks are ([\d.]+) x"),
    (PERFORMANCE, r"from disk, one worker \|.*\| ([\d.]+) \|", REMOTE, r"1 worker: .* alone ([\d.]+)"),
    (PERFORMANCE, r"the same, two workers \|.*\| ([\d.]+) \|", REMOTE, r"2 workers: .* alone ([\d.]+)"),
    (PERFORMANCE, r"left to the server \|.*\| ([\d.]+) \|", REMOTE, r"1 worker: wall ([\d.]+)"),
    (PERFORMANCE, r"cores with the server \|.*\| ([\d.]+) \|", REMOTE, r"2 workers: wall ([\d.]+)"),
    (PERFORMANCE, r"over the network \|.*\| ([\d.]+), ([\d.]+) \|", REMOTE,
     r"disk ([\d.]+), network ([\d.]+)\n\n1 worker"),
    (PERFORMANCE, r"size of `report.html` \|.*\| ([\d.]+) MB", REPORT, r"report.html +([\d.]+) MB"),
    (PERFORMANCE, r"time to build it \|.*\| ([\d.]+) s", REPORT, r"built in +([\d.]+) s"),
    (PERFORMANCE, r"map and table .*\| (\d+) ms", REPORT, r"map and table can be used +(\d+) ms"),
    (PERFORMANCE, r"all charts .*\| (\d+) ms", REPORT, r"all scripts done +(\d+) ms"),
    (PERFORMANCE, r"after a click \|.*\| (\d+) ms", REPORT, r"panel after a click +(\d+) ms"),
    (PERFORMANCE, r"size of the spectra \|.*\| ([\d.]+) MB", REPORT, r"spectra on disk +([\d.]+) MB"),
    (PERFORMANCE, r"checkpoints \| ≤ 1.01 \| ([\d.]+) \|", TRAINING, r"ratio ([\d.]+)"),
    (PERFORMANCE, r"synchronous \| the analysis \| ([\d.]+) s, ([\d.]+)", TRAINING,
     r"us +stall.* ([\d.]+) s = +([\d.]+)"),
    (PERFORMANCE, r"NF4 \|.*\| ([\d.]+) ms \| ([\d.]+)", FORMATS, r"nf4 +([\d.]+) +[\d.]+ +([\d.]+)"),
    (PERFORMANCE, r"whole scan, `exact` \|.*\| ([\d.]+) s", CUDA, r"scan exact .*default: +([\d.]+) s"),
    (PERFORMANCE, r"bare calls alone.*\| ([\d.]+) s", CUDA, r"bare fp64 +all 225: ([\d.]+) s"),
    (PERFORMANCE, r"one worker \|.*\| ([\d.]+) s", CUDA, r"scan exact .*workers 1: +([\d.]+) s"),
    (PERFORMANCE, r"any format took.*\| ([\d.]+) \(", "memory.txt", r"gguf_q4_0 +([\d.]+)"),
    (PERFORMANCE, r"on its side.*\| ([\d.]+) \|", "memory.txt", r"(?s)--transposed.*?int4_g32 +([\d.]+)"),
    (PERFORMANCE, r"beyond the imports .*\| ([\d.]+) \(([\d.]+) in all", "memory.txt",
     r"(?s)--real.*?int4_g32 +([\d.]+) +([\d.]+)"),
    *(
        (PERFORMANCE, rf"{quoted}.* \| half \| ([\d.]+) \| ([\d.]+) \|", "commands.txt",
         rf"^{line}.* ([\d.]+) +([\d.]+)$")
        for quoted, line in (("`recommend`", "recommend"), ("`compare` of two", "compare"), ("`history`", "history"),
                             ("`report`", "report"), ("`merge`", "merge"))
    ),
    (PERFORMANCE, r"per state, mean \| 0.20 \| ([\d.]+) \|", "cards.txt", r"before +30 +100 +([\d.]+)"),
    (PERFORMANCE, r"per state, mean .* \| ([\d.]+) \|", "cards.txt", r"now +30 +100 +([\d.]+)"),
    (PERFORMANCE, r"^\| a state with charts .* \| ([\d.]+) \|", "cards.txt", r"now +30 +100 +[\d.]+ +([\d.]+)"),
    (PERFORMANCE, r"^\| a state without .* \| ([\d.]+) \|", "cards.txt", r"now +30 .* ([\d.]+) +\d+$"),
    (PERFORMANCE, r"KB per state .* \| (\d+) \|", "cards.txt", r"now +30 .* (\d+)$"),
    (PERFORMANCE, r"16 workers \| ([\d.]+) s", "cores.txt", r"(?s)of 4 blocks.*?^   16 +([\d.]+)"),
    (PERFORMANCE, r"16 workers \| [\d.]+ s \| ([\d.]+) s", "llama_shapes.txt", r"in bf16.*: +([\d.]+) s with 16"),
    (PERFORMANCE, r"bf16: fp32, fp16, bf16 \| \d+ \| ([\d.]+) \| ([\d.]+)", "llama_shapes.txt",
     r"\(a\) .*: +([\d.]+) s with 2 .* peak ([\d.]+)"),
    (PERFORMANCE, r"fp32: fp32, fp16, bf16 \| \d+ \| ([\d.]+) \| ([\d.]+) \| (\d+)", "llama_shapes.txt",
     r"\(b\) .*: +([\d.]+) s with 2 .* peak ([\d.]+) GB; rows: .*certified (\d+)"),
    (PERFORMANCE, r"the same and int4 \| \d+ \| ([\d.]+) \| ([\d.]+)", "llama_shapes.txt",
     r"\(c\) .*: +([\d.]+) s with 2 .* peak ([\d.]+)"),
    (PERFORMANCE, r"seconds \| ([\d.]+) .* \| ([\d.]+) \|$", "cores.txt",
     r"(?s)of 32 blocks.*?^    2 +([\d.]+).*?^   64 +([\d.]+)"),
    (PERFORMANCE, r"1 worker \| ([\d.]+) s \| ([\d.]+) s", "cores.txt", r"^ +1 +1/2 \| +([\d.]+) +([\d.]+)"),
    (PERFORMANCE, r"with 2 workers \| ([\d.]+) s \| ([\d.]+) s", "cores.txt", r"^ +2 +1/2 \| +([\d.]+) +([\d.]+)"),
    (PERFORMANCE, r"int4, 2 workers \| ([\d.]+) s \| ([\d.]+) s", "cores.txt",
     r"(?s)--low-bit int4.*?^ +2 +1/2 \| +([\d.]+) +([\d.]+)"),
    (PERFORMANCE, r"int4, 1 worker \| ([\d.]+) s \| ([\d.]+) s", "cores.txt",
     r"(?s)--low-bit int4.*?^ +1 +1/2 \| +([\d.]+) +([\d.]+)"),
    (PERFORMANCE, r"idle with int4, .*\| ([\d.]+) % \|$", "cores.txt",
     r"(?s)225 matrices of 32 blocks at [^\n]* int4_g32 by.*?^   64 +[\d.]+ +[\d.]+ +([\d.]+)%"),
    (PERFORMANCE, r"with int4 take ([\d.]+) s on 16 cores\s+by the model, ([\d.]+) s", "cores.txt",
     r"(?s)15 matrices of 2 blocks.*?^   16 +([\d.]+)[^|]*\| +([\d.]+)"),
    (PERFORMANCE, r"memory of the device \|.*\| ([\d.]+) GB", CUDA, r"scan exact .*default: .*s, ([\d.]+) GB"),
    (TRUST, r"([\d.]+) × the speed of one fp32 SVD", ENGINE, r"exact is ([\d.]+) x"),
    (TRUST, r"and ([\d.]+) GB, on 2 cores", SCAN, r"^peak resident memory ([\d.]+) GB"),
    (EVIDENCE, r"leave ([\d.]+) % of the weights", "evidence.txt", r"thresholds .* ([\d.]+)%$"),
    (EVIDENCE, r"16 bits: ([\d.]+)\s", "evidence.txt", r"thresholds 2.5 / 3.0 \(no budget\) +([\d.]+)"),
    *(
        (PERFORMANCE, rf"^\| {shape.replace('x', '×')}" + r" \| ([\d.]+)" * 4, "methods.txt",
         rf"^ +{shape}" + r" +([\d.]+)" * 4)
        for shape in ("1024x1024", "3584x1024", "2048x2048", "7168x2048", "2048x7168", "4096x4096", "14336x4096")
    ),
    ("docs/reuse_bound.md", r"Of (\d+) cases (\d+) got a finite range, with (\d+) violations", "certificate.txt",
     r"(\d+) cases, (\d+) certified, (\d+) violations"),
    ("docs/reuse_bound.md", r"takes ([\d.]+) of it in the middle case, all of it \(([\d.]+)\)", "certificate.txt",
     r"median ([\d.]+),.*largest ([\d.]+)"),
    *(
        (PERFORMANCE, rf"of {shape} *[^|]*\|.*\| ([\d.]+) ×", "earlier_states.txt",
         rf"^ +{shape.split(',')[0].replace('×', 'x')} +[\d.]+ +[\d.]+ +[\d.]+ +([\d.]+)")
        for shape in ("576×576, solved", "1536×576", "1024×1024", "3584×1024", "2048×2048")
    ),
    *(
        (PERFORMANCE, rf"{quoted} \|.*\| ([\d.]+) ×, ([\d.]+) ×", "earlier_states.txt",
         rf"SmolLM2-135M, {title}"
         + r".*\n" * 4
         + "".join(rf" +{step}(?: +[\d.e-]+){{3}} +([\d.]+).*\n" for step in (20, 30)))
        for quoted, title in (("the fourth state", "fp32"), ("rounded to bf16", "rounded"))
    ),
    (PERFORMANCE, r"nothing changed .*: ([\d.]+) CPU s at least and ([\d.]+) in", "states.txt",
     r"a state ([\d.]+) ([\d.]+)"),
    (PERFORMANCE, r"in fp32, ([\d.]+) and ([\d.]+) of them", "states.txt", r"its digests ([\d.]+) ([\d.]+)"),
    (PERFORMANCE, r"busy machine (\d.\d+) and (\d.\d+)", "states.txt", r"(?s)a state .*a state ([\d.]+) ([\d.]+)"),
    (PERFORMANCE, r"same bits takes (\d.\d+) and (\d.\d+)", "states.txt", r"one sum ([\d.]+) ([\d.]+)"),
    (PERFORMANCE, r"from scratch, all states \|.*\| ([\d.]+) ×", "earlier_states.txt", r"together: .* = ([\d.]+)"),
    ("docs/reuse_bound.md", r"Of (\d+) states (\d+) were proved\nfrom an earlier one, with (\d+) violations",
     "earlier_states.txt", r"attack: (\d+) states, (\d+) proved from an earlier one, (\d+) violations"),
    *(
        ("docs/control.md", rf"^{arm} +([\d.]+) +([\d.]+)", "layerwise_control.txt", rf"^{arm} +([\d.]+) +([\d.]+)")
        for arm in ("baseline", "tempbalance", "llr", "alphadecay")
    ),
    *(
        ("docs/control.md", rf"(?s)156,096 .*?\n{arm} +([\d.]+) +([\d.]+)", "layerwise_control_small.txt",
         rf"^{arm} +([\d.]+) +([\d.]+)")
        for arm in ("baseline", "tempbalance", "llr", "alphadecay")
    ),
    *(
        (TRUST, rf"\| {quoted}.*?\| (\d+), ([\d.e-]+)", "hosts.txt", rf"^{name} .*\)\]? +(\d+) +([\d.e-]+)")
        for quoted, name in (("plain loop", "plain loop"), ("Hugging Face Trainer", "HF Trainer"))
    ),
    *(
        (ESTIMATORS, rf"^\| {quoted} \|" + r" (\d+) % \|" * 5, "tail_rivals.txt",
         rf"(?s)256x256, limit.*?{drawn}" + r" +(\d+)%" * 5)
        for quoted, drawn in (
            ("planted power law of exponent 4", "planted tail, alpha 4"),
            (r"noise, rows scaled by exp\(0.2 z\)", r"row scales exp\(0.2 z\)"),
            (r"noise, rows scaled by exp\(0.4 z\)", r"row scales exp\(0.4 z\)"),
        )
    ),
    ("docs/names.md", r"in (\d+) architectures of transformers, as tiny random models: (\d+)", "zoo.txt",
     r"(\d+) built, .*\n.* alphas: (\d+);"),
    (ESTIMATORS, r"(\d+) % of 256×256 and (\d+) % of", "tail_rivals.txt",
     r"(?s)256x256, limit.*?exp\(0.2 z\) +(\d+)%.*?256x1024, limit.*?exp\(0.2 z\) +(\d+)%"),
    (ESTIMATORS, r"±40 %, (\d+) and (\d+) %", "tail_rivals.txt",
     r"(?s)256x256, limit.*?exp\(0.4 z\) +(\d+)%.*?256x1024, limit.*?exp\(0.4 z\) +(\d+)%"),
    (ESTIMATORS, r"mean in (\d+) to (\d+) % of those", "tail_rivals.txt",
     r"(?s)index 1.5 .*?% +(\d+)%.*alpha 3 .*?% +(\d+)%"),
    (ESTIMATORS, r"hard to tell from an edge \| 0 % \| 5 %; (\d+) %", "tails.txt", r"alpha 4, 256x256 +60 +0% +(\d+)%"),
]  # fmt: skip


def figures(text: str, pattern: str) -> list[float]:
    found = re.search(pattern, text, re.MULTILINE)
    assert found, f"nothing matches {pattern}"
    return [float(group) for group in found.groups()]


@pytest.mark.parametrize(("page", "there", "file", "here"), QUOTED, ids=[f"{row[0]}: {row[1][:40]}" for row in QUOTED])
def test_a_quoted_figure_is_the_committed_one(page: str, there: str, file: str, here: str) -> None:
    text = (REPOSITORY / page).read_text(encoding="utf-8")
    quoted = figures(text, there)
    decimals = [len(group.partition(".")[2]) for group in re.search(there, text, re.MULTILINE).groups()]  # type: ignore[union-attr]
    measured = figures((REPOSITORY / "benchmarks" / "results" / file).read_text(encoding="utf-8"), here)
    # A page may print fewer digits than the output: half of its last digit, and a hair for ties, is the difference.
    assert quoted == [
        pytest.approx(value, abs=0.5 * 10**-digits * 1.01) for value, digits in zip(measured, decimals, strict=True)
    ]


def test_minutes_are_the_seconds() -> None:
    trust, page, tutorial = ((REPOSITORY / name).read_text(encoding="utf-8") for name in (TRUST, PERFORMANCE, TUTORIAL))
    seconds, minutes = figures(page, r"\| ([\d.]+) s \(([\d.]+) min\)")
    assert round(seconds / 60, 1) == minutes == figures(trust, r"in ([\d.]+) minutes")[0]
    assert minutes == figures(tutorial, r"took \[([\d.]+) minutes\]")[0]


def test_milliseconds_and_percents_of_the_hooks_are_those_measured() -> None:
    page, trust, output = (
        (REPOSITORY / name).read_text(encoding="utf-8")
        for name in (PERFORMANCE, TRUST, f"benchmarks/results/{TRAINING}")
    )
    measured = re.findall(r"its hooks in such a step +([\d.]+) us +([\d.]+) of a step", output)
    quoted = re.findall(r"([\d.]+) ms, ([\d.]+) %", re.search(r"its hooks in such a step.*", page)[0])  # type: ignore[index]
    assert [(float(ms), float(share)) for ms, share in quoted] == [
        (pytest.approx(float(us) / 1e3, abs=6e-4), pytest.approx(100 * float(share), rel=0.15))
        for us, share in measured
    ]
    assert max(float(us) for us, _ in measured) / 1e3 < figures(trust, r"less than ([\d.]+) ms of a step")[0]


def test_what_is_said_of_fast_is_the_committed_table() -> None:
    text = (REPOSITORY / "benchmarks/results/fast_proof.txt").read_text(encoding="utf-8")
    rows = [line.split() for line in text.splitlines() if re.search(r" \d+x\d+ ", line)]
    shares: dict[int, list[float]] = {int(row[-9].partition("x")[2]): [] for row in rows}  # columns -> fast / exact
    for row in rows:
        shares[int(row[-9].partition("x")[2])].append(float(row[-3]))
    (unproved,) = (float(row[-7]) for row in rows if "4096x4096" in row)
    page, faq = ((REPOSITORY / "docs" / name).read_text(encoding="utf-8") for name in ("performance.md", "faq.md"))
    assert figures(page, r"takes ([\d.]+) of the CPU time of `exact` for 2048") == shares[2048]
    assert figures(page, r"and ([\d.]+) for 4096, its") == shares[4096]
    assert figures(page, r"without a proof ([\d.]+) would") == [unproved]
    assert figures(page, r"1024: ([\d.]+) to ([\d.]+) alone") == [min(shares[1024]), max(shares[1024])]
    assert figures(page, r"longer than `exact` \(([\d.]+) to ([\d.]+) of it") == [min(shares[576]), max(shares[576])]
    assert figures(faq, r"which takes ([\d.]+) of the CPU time") == [max(shares[2048] + shares[4096])]
    bound = (REPOSITORY / "docs/fast_bound.md").read_text(encoding="utf-8")
    whole = re.findall(r"(\d+) matrices, (\d+) proved .*, (\d+) eigenvalues\nenclosed, (\d+) violations", text)
    assert re.findall(r"(\d+) matrices, (\d+) proved, (\d+) eigenvalues enclosed, (\d+) violations", bound) == whole
    used = re.search(r"\n +all +(.*)", text)[1].split()  # type: ignore[index]
    assert figures(bound, r"uses ([\d.]+) of its bound in the middle case and ([\d.]+) at most") == [
        float(used[5]), float(used[6])
    ]  # fmt: skip
