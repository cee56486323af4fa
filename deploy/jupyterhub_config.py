"""JupyterHub for one class on one Linux machine: the system's accounts and passwords, nbgrader.

Copy this folder to where every user can read it, write your names below, and start the hub as root:
`jupyterhub -f jupyterhub_config.py`. The site's page *On JupyterHub* has each step.
"""

import os
import sys
from pathlib import Path

c = get_config()  # noqa: F821 (JupyterHub defines it)
here = Path(__file__).resolve().parent
programs = Path(sys.executable).parent  # of the environment that the hub runs in

COURSE = "qlearn"
TEACHERS = {"teacher"}
STUDENTS = {"ada", "ben"}

# Who may log in. The groups' names are nbgrader's: it asks the hub who takes which course.
c.JupyterHub.authenticator_class = "pam"
c.Authenticator.allowed_users = TEACHERS | STUDENTS
c.JupyterHub.load_groups = {
    f"formgrade-{COURSE}": {"users": sorted(TEACHERS)},
    f"nbgrader-{COURSE}": {"users": sorted(STUDENTS)},
}

# What a user's server may ask the hub: what it needs to run, and who its user is.
c.Spawner.server_token_scopes = [
    *("access:servers!server", "users:activity!user"),
    *("read:users:name!user", "read:users:groups!user"),
]

# Each user's server is a process of their own account.
c.JupyterHub.spawner_class = "jupyterhub.spawner.LocalProcessSpawner"
c.Spawner.cmd = [str(programs / "jupyterhub-singleuser")]
c.Spawner.default_url = "/lab"
c.Spawner.environment = {
    "JUPYTER_CONFIG_PATH": str(here),  # nbgrader_config.py, which lies beside this file
    "PATH": os.pathsep.join([str(programs), os.defpath]),  # nbgrader in a terminal, and git
    "QLEARN_CACHE": "/srv/qlearn",  # one copy of the model for everybody
}

# Kernels speak through files of their user: over TCP, the default, everybody on the machine could
# listen to their outputs. A kernel that has been idle for an hour ends, and a server without
# kernels after another: their memory is free again. Notebooks are files, and stay.
c.Spawner.args = [
    "--KernelManager.transport=ipc",
    "--MappingKernelManager.cull_idle_timeout=3600",
    "--MappingKernelManager.cull_connected=True",
    "--ServerApp.shutdown_no_activity_timeout=3600",
]

# Put a web server that speaks HTTPS before it.
c.JupyterHub.bind_url = "http://127.0.0.1:8000"
