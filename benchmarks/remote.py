"""What it costs to scan a model over the network instead of from disk, on a link that is not the bottleneck.

    python -m benchmarks.remote                    # a synthetic model of 236 MB, 5 runs of each: 5 minutes
    python -m benchmarks.remote --small --runs 1   # in seconds
    python -m benchmarks.remote --model .cache/real_weights/smollm2-135m-fp32

A second process sends the files over the loopback interface by HTTP ranges, so its share of the processors is part of
what is measured. Runs from disk (page cache) and over the network take turns in this process; the ratio of a pair is
taken within it. The tables of both must be the same bytes.
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

import torch
from safetensors.torch import save_file

from alpha_callbacks.options import AnalysisOptions
from alpha_callbacks.scanning.scan import scan
from alpha_callbacks.scanning.write_results import Plots
from alpha_callbacks.tables.results_csv import RESULTS
from alpha_callbacks.utils.machine import peak_memory

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


def run(source: Path | str, output: Path, *, remote: bool) -> float:
    """Return the seconds of one scan, from the first request to the tables."""
    began = time.perf_counter()
    scan(
        source,
        output_dir=output,
        options=AnalysisOptions(precisions=("fp32", "fp16", "bf16")),
        plots=Plots(()),
        report=False,
        save_spectra=False,
        remote=remote,
        resume=False,
    )
    return time.perf_counter() - began


def main() -> None:
    """Scan in turns and print each pair, the ratios and what was sent."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, help="a folder with .safetensors files instead of the synthetic model")
    parser.add_argument("--runs", type=int, default=5, help="of each way")
    parser.add_argument("--small", action="store_true", help="a synthetic model of 4 MB")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        place = Path(temporary)
        folder = arguments.model
        if folder is None:
            (folder := place / "model").mkdir()
            sizes = (2, 256, 704) if arguments.small else (3, 2048, 5504)
            make_model(folder, layers=sizes[0], hidden=sizes[1], intermediate=sizes[2])
        here, there = multiprocessing.Pipe()
        server = multiprocessing.get_context("spawn").Process(target=serve, args=(folder.resolve(), there), daemon=True)
        server.start()
        url = f"http://127.0.0.1:{here.recv()}"
        os.environ.update({"HF_ENDPOINT": url, "HF_HUB_OFFLINE": "0"})
        size = sum(file.stat().st_size for file in folder.glob("*.safetensors"))
        print(f"torch {torch.__version__}, {os.cpu_count()} CPUs; {size / 1e6:.0f} MB; seconds of a scan", flush=True)
        run(folder, place / "warm-up", remote=False)
        print(f"{'disk':>8} {'network':>8} {'ratio':>7}")
        ratios = []
        for index in range(arguments.runs):
            order = (False, True) if index % 2 == 0 else (True, False)
            took = {
                remote: run("org/model" if remote else folder, place / str(remote), remote=remote) for remote in order
            }
            ratios.append(took[True] / took[False])
            print(f"{took[False]:>8.2f} {took[True]:>8.2f} {ratios[-1]:>7.3f}", flush=True)
            first, second = ((place / str(remote) / RESULTS).read_bytes() for remote in (False, True))
            assert first == second, "the tables differ"
        print(f"median ratio {statistics.median(ratios):.3f}; peak memory {peak_memory() / 1e6:.0f} MB")
        server.terminate()


if __name__ == "__main__":
    main()
