"""What it costs to scan a model over the network instead of from disk, on a link that is not the bottleneck.

    python -m benchmarks.remote                    # a synthetic model of 203 MB, 3 pairs of each kind: 5 minutes
    python -m benchmarks.remote --small --runs 1   # in seconds
    python -m benchmarks.remote --model .cache/real_weights/smollm2-135m-fp32

Another process sends the files over the loopback interface by HTTP ranges. A server elsewhere takes none of the
scan's processors, so three ratios are printed, network to disk, each taken within a pair of scans that follow each
other in this process: CPU seconds of this process, the server's not among them; wall time of one worker, which
leaves a processor to the server where there are two; wall time of as many workers as there are processors, which
share them with the server. Both ways have been used once before the first pair, and files lie in the page cache.
The tables of both must be the same bytes.
"""

import argparse
import multiprocessing
import os
import re
import statistics
import tempfile
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from multiprocessing.connection import Connection
from pathlib import Path
from typing import NamedTuple

import torch
from safetensors.torch import save_file

from alpha_callbacks.checkpoints.open_checkpoint import open_checkpoint
from alpha_callbacks.checkpoints.remote.open_remote import open_remote
from alpha_callbacks.options import AnalysisOptions
from alpha_callbacks.scanning.scan import scan
from alpha_callbacks.scanning.write_results import Plots
from alpha_callbacks.tables.results_csv import RESULTS
from alpha_callbacks.utils.machine import cpu_threads, peak_memory

_CONFIG = '{"architectures": ["LlamaForCausalLM"]}'


def make_model(folder: Path, *, layers: int, hidden: int, intermediate: int) -> Path:
    """Write a Llama of random bf16 weights, a shard per layer."""
    generator = torch.Generator().manual_seed(0)
    shapes = {f"self_attn.{name}_proj": (hidden, hidden) for name in "qkvo"}
    shapes |= {"mlp.gate_proj": (intermediate, hidden), "mlp.up_proj": (intermediate, hidden)}
    shapes |= {"mlp.down_proj": (hidden, intermediate)}
    for layer in range(layers):
        tensors = {
            f"model.layers.{layer}.{name}.weight": torch.randn(shape, generator=generator).bfloat16()
            for name, shape in shapes.items()
        }
        save_file(tensors, folder / f"model-{layer + 1:05d}-of-{layers:05d}.safetensors")
    (folder / "config.json").write_text(_CONFIG, encoding="utf-8")
    return folder


def serve(folder: Path, port: Connection) -> None:
    """Answer the hub's questions about one model, and send ranges of its files."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True  # or the end of each answer waits 40 ms for an acknowledgement

        def log_message(self, format: str, *arguments: object) -> None:
            pass

        def do_GET(self) -> None:
            if self.path.startswith("/api/"):
                names = ", ".join(f'{{"rfilename": "{path.name}"}}' for path in sorted(folder.iterdir()))
                return self.send(200, f'{{"sha": "{"0" * 40}", "siblings": [{names}]}}'.encode())
            path = folder / self.path.rpartition("/")[2]
            match = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range", ""))
            if match is None:
                return self.send(200, path.read_bytes())
            size = path.stat().st_size
            start, stop = int(match[1]), min(int(match[2]) + 1, size)
            self.send_response(206)
            self.send_header("ETag", f'"{path.name}"')
            self.send_header("Content-Range", f"bytes {start}-{stop - 1}/{size}")
            self.send_header("Content-Length", str(stop - start))
            self.end_headers()
            self.wfile.flush()
            with path.open("rb") as file:
                while start < stop:
                    start += os.sendfile(self.connection.fileno(), file.fileno(), start, stop - start)

        def send(self, status: int, body: bytes) -> None:
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    port.send(server.server_address[1])
    server.serve_forever()


class Cost(NamedTuple):
    """Seconds of one scan, from the first request to the tables: on the clock, and of all processors."""

    wall: float
    cpu: float


def run(source: Path | str, output: Path, *, remote: bool, workers: int) -> Cost:
    """Scan once."""
    began, cpu = time.perf_counter(), time.process_time()
    scan(
        source,
        output_dir=output,
        options=AnalysisOptions(precisions=("fp32", "fp16", "bf16")),
        workers=workers,
        threads=workers,
        plots=Plots(()),
        report=False,
        save_spectra=False,
        remote=remote,
        resume=False,
    )
    return Cost(time.perf_counter() - began, time.process_time() - cpu)


def pairs(folder: Path, place: Path, *, workers: int, runs: int) -> None:
    """Scan in turns and print each pair and the medians of the ratios."""
    print(f"\n{workers} worker{'s' * (workers > 1)}: {'disk':>9} {'network':>9} {'ratio':>7}", end="")
    print(f" {'CPU disk':>12} {'network':>9} {'ratio':>7}")
    ratios = []
    for index in range(runs):
        ways: list[tuple[bool, Path | str]] = [(False, folder), (True, "org/model")]
        took = {
            remote: run(source, place / str(remote), remote=remote, workers=workers)
            for remote, source in (ways if index % 2 == 0 else reversed(ways))
        }
        disk, network = took[False], took[True]
        ratios.append(Cost(network.wall / disk.wall, network.cpu / disk.cpu))
        print(f"{disk.wall:>20.2f} {network.wall:>9.2f} {ratios[-1].wall:>7.3f}", end="")
        print(f" {disk.cpu:>12.2f} {network.cpu:>9.2f} {ratios[-1].cpu:>7.3f}", flush=True)
        first, second = ((place / str(remote) / RESULTS).read_bytes() for remote in (False, True))
        assert first == second, "the tables differ"
    wall, cpu = (statistics.median(column) for column in zip(*ratios, strict=True))
    print(f"median ratio, {workers} worker{'s' * (workers > 1)}: wall {wall:.3f}, CPU of the scan alone {cpu:.3f}")


def reading(folder: Path) -> None:
    """Print the CPU seconds of this process for reading all tensors and doing nothing with them."""
    took = {}
    for remote in (False, True):
        checkpoint = open_remote("org/model") if remote else open_checkpoint(folder)
        began, size = time.process_time(), 0
        for tensor in checkpoint.tensors:
            values = tensor.read(0, tensor.shape[0])
            size += values.numel() * values.element_size()
        took[remote] = (time.process_time() - began) / size * 1e9
        if checkpoint.origin is not None:
            checkpoint.origin.close()
    print(f"reading alone, CPU s per GB: disk {took[False]:.2f}, network {took[True]:.2f}", flush=True)


def main() -> None:
    """Serve a model, scan it both ways in turns, and print what was measured."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, help="a folder with .safetensors files instead of the synthetic model")
    parser.add_argument("--runs", type=int, default=3, help="pairs of scans for each number of workers")
    parser.add_argument("--small", action="store_true", help="a synthetic model of 4 MB")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        place = Path(temporary)
        folder = arguments.model
        if folder is None:
            (folder := place / "model").mkdir()
            sizes = (2, 256, 704) if arguments.small else (2, 2048, 5504)
            make_model(folder, layers=sizes[0], hidden=sizes[1], intermediate=sizes[2])
        here, there = multiprocessing.Pipe()
        server = multiprocessing.get_context("spawn").Process(target=serve, args=(folder.resolve(), there), daemon=True)
        server.start()
        os.environ.update({"HF_ENDPOINT": f"http://127.0.0.1:{here.recv()}", "HF_HUB_OFFLINE": "0"})
        size = sum(file.stat().st_size for file in folder.glob("*.safetensors"))
        print(f"torch {torch.__version__}, {cpu_threads()} CPUs; {size / 1e6:.0f} MB; seconds of a scan", flush=True)
        for _ in range(2):  # the first time is for what is loaded and connected once
            reading(folder)
        for workers in sorted({1, cpu_threads()}):
            pairs(folder, place, workers=workers, runs=arguments.runs)
        print(f"\npeak memory {peak_memory() / 1e6:.0f} MB")
        server.terminate()


if __name__ == "__main__":
    main()
