"""One browser for the tests of pages, and one scan whose report they open."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import pytest

from alpha_callbacks.estimators.tail_estimate import TailEstimate
from alpha_callbacks.report.scan_page import report_html
from alpha_callbacks.tables.table import Table
from tests.support.example_scans import example
from tests.support.pages import Opened, close_browser

FITTED = "model.layers.1.self_attn.q_proj"
CELL = "#heat [aria-label^='block 1, attn_q:']"
ALPHAS = "v=alpha&p=fp32"  # the address of the map with alphas of the finest precision, not errors of a low-bit format


@pytest.fixture(scope="package", autouse=True)
def _one_browser() -> Iterator[None]:
    yield
    close_browser()


@dataclass(frozen=True)
class Scan:
    table: Table
    html: str


@pytest.fixture(scope="package")
def scan(tmp_path_factory: pytest.TempPathFactory) -> Scan:
    folder = tmp_path_factory.mktemp("scan")
    made = example(folder)
    fits = (TailEstimate("csn", 4.25, 9, ks_distance=0.125, low=4.0, high=4.5), TailEstimate("half", reason="no tail"))
    rows = [replace(one, estimates=fits) if one.layer_name == FITTED else one for one in made]
    table = Table.from_rows(rows, made.precisions, made.model)
    return Scan(table, report_html(folder, table))


def choose(it: Opened, where: str, name: str) -> None:
    it.page.locator(where).get_by_role("radio", name=name, exact=True).click()
