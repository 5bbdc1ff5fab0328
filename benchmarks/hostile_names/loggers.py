"""What TensorBoard and W&B have in their files."""

import os
import re
from collections.abc import Iterator

from benchmarks.hostile_names.checked import Checked
from benchmarks.hostile_names.material import Material


def loggers(material: Material) -> Iterator[Checked]:
    """One tag or key per layer, in TensorBoard and W&B; text without what cannot be seen."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    from alpha_callbacks import read_results

    run = material.training()
    events = EventAccumulator(str(run / "tensorboard"), {"scalars": 0, "tensors": 0})
    events.Reload()
    found = Checked("TensorBoard: one tag per layer")
    tags = [tag for tag in events.Tags()["scalars"] if re.match(r"alpha_hill\.", tag) and tag.endswith(".fp32")]
    wanted = sorted(row.alpha for row in read_results(run / "step_00000001") if row.precision == "fp32")
    logged = sorted(event.value for tag in tags for event in events.Scalars(tag) if event.step == 1)
    for i, alpha in enumerate(wanted):
        found.check(
            i < len(logged) and abs(logged[i] - alpha) < 1e-5 * alpha, f"{len(logged)} values of {len(wanted)} layers"
        )
    found.check(len(set(tags)) == len(wanted) and all(re.fullmatch(r"[\w./-]+", tag) for tag in tags), "tags")
    texts = [
        event.tensor_proto.string_val[0].decode() for tag in events.Tags()["tensors"] for event in events.Tensors(tag)
    ]
    found.check(all(text.replace("\n", "").isprintable() for text in texts), "texts")
    yield found
    found = Checked("W&B: one key per layer, and its table")
    os.environ |= {"WANDB_MODE": "offline", "WANDB_SILENT": "true", "WANDB_DIR": str(material.folder / "wandb")}
    (material.folder / "wandb").mkdir(exist_ok=True)
    import wandb

    from alpha_callbacks import AnalysisOptions, Monitor
    from tests.support.wandb_offline import read_offline_run

    started = wandb.init(project="names")
    with Monitor(AnalysisOptions(precisions=("fp32",)), sinks=["wandb"], output_dir=material.folder / "w") as monitor:
        snapshot = monitor.log(material.model(), 0)
    started.finish()
    written = read_offline_run(material.folder / "wandb")
    keys = {key for row in written.rows for key in row if key.startswith("alpha_hill_layers_fp32")}
    assert snapshot is not None
    found.check(len(keys) == len(snapshot.table), f"{len(keys)} keys of {len(snapshot.table)} layers")
    found.check(all(re.fullmatch(r"[A-Za-z0-9_./]+", key) for key in keys), "keys")
    table = next(row["alpha_hill/table"] for row in written.rows if "alpha_hill/table" in row)
    names = [str(row[1]) for row in written.table(table)["data"]]
    for name in names:
        found.check(name.isprintable(), name)
    found.check(len(set(names)) == len(snapshot.table), "names in the table")
    yield found
