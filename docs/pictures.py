"""Draw the pictures of the README from a real study: the demo, its report, the dashboard.

It needs chromium, and a few minutes for the search and the report.

    python docs/pictures.py
"""

import contextlib
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

PICTURES = Path(__file__).parent / "pictures"
TUNER = Path(sys.executable).parent / "tuner"
# Width and height of a window, in pixels.
REPORT, PAGE = (1000, 1150), (1200, 1880)


def shoot(url: str, name: str, size: tuple[int, int]) -> None:
    """Write what a browser shows of a page as a PNG."""
    with tempfile.TemporaryDirectory() as profile:
        subprocess.run(
            [
                shutil.which("chromium") or "chromium",
                "--headless",
                "--no-sandbox",
                "--hide-scrollbars",
                f"--user-data-dir={profile}",
                f"--window-size={size[0]},{size[1]}",
                "--virtual-time-budget=8000",
                f"--screenshot={PICTURES / name}",
                url,
            ],
            check=True,
            capture_output=True,
        )


@contextlib.contextmanager
def dashboard(folder: Path) -> Iterator[str]:
    """Serve the database of a folder, and yield the address."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with subprocess.Popen([TUNER, "dashboard", "--port", str(port)], cwd=folder) as process:
        address = f"http://127.0.0.1:{port}/"
        try:
            for _ in range(100):
                with contextlib.suppress(OSError):
                    urllib.request.urlopen(f"{address}healthz").close()
                    break
                time.sleep(0.2)
            yield address
        finally:
            process.terminate()


def main() -> None:
    """Search, judge, and draw."""
    PICTURES.mkdir(exist_ok=True)
    os.environ.pop("TUNER_STORAGE", None)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        subprocess.run([TUNER, "run", "demo"], cwd=folder, check=True)
        subprocess.run([TUNER, "report", "demo"], cwd=folder, check=True)
        (report,) = folder.glob("reports/*/report.html")
        shoot(report.as_uri(), "report.png", REPORT)
        with dashboard(folder) as address:
            shoot(f"{address}dashboard/studies/1", "dashboard.png", PAGE)


if __name__ == "__main__":
    main()
