"""A scriptable process in the engine's place: standard library only, one flag a misbehaviour."""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--healthy-after", type=float, default=0.0, help="seconds of 503 before 200")
    parser.add_argument("--running", default="", help="a file with the number of running requests")
    parser.add_argument("--answers", action="store_true", help="list a model, answer requests in one piece")
    parser.add_argument("--say", action="append", default=[], help="a line for stderr at the start")
    parser.add_argument("--exit", type=int, default=None, help="end at once with this code")
    parser.add_argument("--leave", default="", help="what to write where a launcher leaves a failure")
    parser.add_argument("--die-when", default="", help="a file: its appearance ends this with SIGKILL")
    parser.add_argument("--deaf", action="store_true", help="ignore SIGTERM")
    parser.add_argument("--orphans", type=int, default=0, help="grandchildren that outlive their parent")
    parser.add_argument("--facts", default="", help="a file that gets pid, session and variables")
    return parser.parse_args()


def main() -> None:
    wanted = arguments()
    for line in wanted.say:
        print(line, file=sys.stderr, flush=True)
    if wanted.facts:
        names = ",".join(sorted(name for name in os.environ if name.startswith("TACHO_")))
        Path(wanted.facts).write_text(f"{os.getpid()} {os.getsid(0)} {names}")
    if wanted.leave:
        Path(os.environ["TACHO_ENGINE_FAILURE"]).write_text(wanted.leave)
    if wanted.exit is not None:
        sys.exit(wanted.exit)
    if wanted.deaf:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    for _ in range(wanted.orphans):
        subprocess.run(
            [sys.executable, "-c", "import os, time\nif os.fork() == 0: time.sleep(0.2)"], check=True
        )
    if wanted.die_when:
        threading.Thread(target=die, args=(Path(wanted.die_when),), daemon=True).start()
    serve(wanted)


def die(sign: Path) -> None:
    while not sign.exists():
        time.sleep(0.02)
    os.kill(os.getpid(), signal.SIGKILL)


def serve(wanted: argparse.Namespace) -> None:
    began = time.monotonic()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if self.path == "/health":
                late = time.monotonic() - began < wanted.healthy_after
                self.answer(503 if late else 200, "loading" if late else "ok")
            elif self.path == "/version":
                self.answer(200, '{"version": "7.7"}')
            elif self.path == "/metrics" and wanted.running:
                running = Path(wanted.running).read_text()
                self.answer(200, f"vllm:num_requests_running {running}\nvllm:num_requests_waiting 0\n")
            elif self.path == "/v1/models" and wanted.answers:
                self.answer(200, '{"data": [{"id": "demo"}]}')
            else:
                self.answer(404, "")

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            if wanted.answers:
                self.answer(200, '{"choices": [{"text": "a", "finish_reason": "length"}]}')
            else:
                self.send_error(501)

        def answer(self, status: int, body: str) -> None:
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body.encode())

        def log_message(self, *_: object) -> None:
            pass

    ThreadingHTTPServer(("127.0.0.1", wanted.port), Handler).serve_forever()


if __name__ == "__main__":
    main()
