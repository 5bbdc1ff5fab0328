"""Memory of `compare` does not depend on the number of plans."""

from pathlib import Path

import pytest

from tests.support import warm

pytest.importorskip("transformers")

PROGRAM = """
import psutil, torch
from types import SimpleNamespace
from torch import nn
from alpha_callbacks.evaluation.evaluate import compare
from alpha_callbacks.planning.plan import Choice, Plan

class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed, self.fc, self.head = nn.Embedding(20_000, 16), nn.Linear(16, 16), nn.Linear(16, 20_000)
        self.config = SimpleNamespace(get_text_config=lambda: SimpleNamespace(vocab_size=20_000))

    def forward(self, input_ids, use_cache):
        return SimpleNamespace(logits=self.head(self.fc(self.embed(input_ids))))

plans = {f"plan {i}": Plan((Choice("fc", "other", 16, 16, ("int4", "int8")[i % 2]),)) for i in range(8)}
seen, process = [], psutil.Process()
compare(Model(), plans, torch.arange(512)[None], on_progress=lambda *_: seen.append(process.memory_info().rss))
print((seen[-1] - seen[0]) / (512 * 20_000 * 8))
"""


def test_more_plans_take_no_more_memory(tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)
    done = warm.run([program], imports=("torch", "psutil", "alpha_callbacks.evaluation.evaluate"))
    assert done.returncode == 0, done.stderr
    assert float(done.stdout) < 3, "in log-probabilities of one window; a torn heap grew by one or two of them per plan"
