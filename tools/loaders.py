"""An environment on top of `.venv`, with packages that must not meet the rest of the course.

GPTQModel prints when it is imported and changes torch's settings, and transformers imports torchao
wherever it is; a chapter must run without either. So they lie in a folder of their own, made
once, that finds everything else in `.venv`.
"""

import hashlib
import json
import os
import shutil
from pathlib import Path

from tools.environment import LOG_NAME, Environment, logged, read_stamp
from tools.errors import CommandError, TaskError, diagnose
from tools.torch_build import PIP

PACKAGES = ["gptqmodel", "optimum", "torchao"]
FILES = [
    "tests/checkpoints/test_loaders.py",
    "tests/measure/test_libraries_again.py",
    "tests/methods/test_qat_torchao.py",
]
PURE = "import sysconfig; print(sysconfig.get_path('purelib'))"


def layer(environment: Environment) -> Environment:
    """Bring the environment on top of `.venv` up to date; does nothing where it is.

    Raises:
        TaskError: with one line that says what is wrong and what to do.
    """
    layered = Environment(environment.folder / "loaders", environment.root)
    inputs = "\n".join([environment.stamp.read_text(encoding="utf-8"), *PACKAGES])
    digest = hashlib.sha256(inputs.encode()).hexdigest()
    if read_stamp(layered).get("inputs") == digest:
        print(f"GPTQModel and torchao lie in {layered.folder}", flush=True)
        return layered
    if os.name != "nt" and shutil.which("cc") is None:
        raise TaskError(
            "a part of GPTQModel is compiled and there is no C compiler; on Debian or Ubuntu run "
            "`sudo apt install gcc libc6-dev`, then the same command again"
        )
    print(f"Installing GPTQModel and torchao into {layered.folder}", flush=True)
    log = environment.root / LOG_NAME
    run = logged(log, layered.variables(os.environ), environment.root)
    try:
        run([str(environment.python), "-m", "venv", "--clear", str(layered.folder)])
        below = run([str(environment.python), "-c", PURE]).strip()
        above = Path(run([str(layered.python), "-c", PURE]).strip())
        # pip takes what it finds there as installed, and the .pth files in it count as well.
        finder = f"import site; site.addsitedir({below!r})\n"
        (above / "below.pth").write_text(finder, encoding="utf-8")
        newest = read_stamp(environment).get("packages") == "newest"
        constraints = [] if newest else ["-c", "constraints.txt"]
        run([str(layered.python), *PIP, "install", *constraints, *PACKAGES])
    except CommandError as error:
        raise TaskError(f"{diagnose(error.output)} (full log: {log})") from error
    layered.stamp.write_text(json.dumps({"inputs": digest}), encoding="utf-8")
    return layered
