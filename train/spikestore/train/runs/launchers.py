"""Reads the rank of this process from the environment variables that launchers set.

torch itself recognises torchrun. For srun, mpirun and Kubernetes' PyTorchJob, this module reads the rank and the number of
processes; the user sets MASTER_ADDR and MASTER_PORT to the address and the port at which the processes connect. If a process is one
of several processes, and its rank or this address is unknown, `launched` raises an error. Without this error, each process would
train alone, and all processes would write the same files.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from spikestore.store_schemas.errors import UsageError


@dataclass(frozen=True)
class Launched:
    """Rank of a process, and number of all processes that its launcher started.

    Attributes
    ----------
    rank, count : int
        Number of this process, and the number of processes.
    local : int, optional
        Number of this process on its machine; None if neither the launcher's own variable nor ``LOCAL_RANK`` is set.
    meeting_point : str
        ``address:port`` at which the processes connect to each other; used only in messages.
    """

    rank: int
    count: int
    local: int | None
    meeting_point: str


@dataclass(frozen=True)
class _Launcher:
    name: str
    rank: str
    count: str
    local: str
    first_host: str
    """Shell expression for the host name of rank 0."""


_HOST_OF_RANK_0 = "HOST_OF_RANK_0"
_LAUNCHERS = (
    # Set by scripts, PyTorchJob and torchrun.
    _Launcher("the launcher", "RANK", "WORLD_SIZE", "LOCAL_RANK", _HOST_OF_RANK_0),
    # SLURM_NTASKS is also set in a batch script, where one process runs: the number of tasks of this step counts.
    _Launcher(
        "srun",
        "SLURM_PROCID",
        "SLURM_STEP_NUM_TASKS",
        "SLURM_LOCALID",
        '$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)',
    ),
    _Launcher(
        "mpirun",
        "OMPI_COMM_WORLD_RANK",
        "OMPI_COMM_WORLD_SIZE",
        "OMPI_COMM_WORLD_LOCAL_RANK",
        _HOST_OF_RANK_0,
    ),
    _Launcher("mpirun", "PMI_RANK", "PMI_SIZE", "MPI_LOCALRANKID", _HOST_OF_RANK_0),
)


def launched(environment: Mapping[str, str]) -> Launched | None:
    """Return how a launcher started this process together with others (`Launched`); None if this process is the only one.

    Parameters
    ----------
    environment : mapping of str to str
        Environment variables of the process.

    Raises
    ------
    UsageError
        The process is, or may be, one of several processes, and an environment variable that tells the processes how to
        find each other is missing or invalid.
    """
    for launcher in _LAUNCHERS:
        rank, count = _numbers(environment, launcher)
        if count < 2:
            continue
        missing = [name for name in ("MASTER_ADDR", "MASTER_PORT") if not environment.get(name)]
        if missing:
            raise UsageError(
                f"{launcher.name} started {count} processes ({launcher.count} = {count}). Process {rank} "
                f"({launcher.rank}) can't connect to the other processes, because {' and '.join(missing)} {'is' if len(missing) == 1 else 'are'} "
                f"not set. To train together: export MASTER_ADDR={launcher.first_host} MASTER_PORT=29500, or start the "
                f"processes with torchrun. To train in one process: start only one process, or unset {launcher.rank} and {launcher.count}",
                launcher=launcher.name,
            )
        local = next((name for name in (launcher.local, "LOCAL_RANK") if environment.get(name)), None)
        return Launched(
            rank,
            count,
            None if local is None else _whole(local, environment[local]),
            f"{environment['MASTER_ADDR']}:{environment['MASTER_PORT']}",
        )
    for launcher in _LAUNCHERS:
        _refuse_half(environment, launcher)
    return None


def _refuse_half(environment: Mapping[str, str], launcher: _Launcher) -> None:
    """Raise an error if only one of rank and count is set, and its value suggests several processes.

    These suggest several processes: a count above 1, a rank above 0, and ``RANK`` with any value. srun's variables are not
    checked: in batch scripts and interactive allocations, SLURM sets some of them too.
    """
    rank, count = environment.get(launcher.rank), environment.get(launcher.count)
    if launcher.name == "srun" or bool(rank) == bool(count):
        return
    if rank and (launcher.rank == "RANK" or _whole(launcher.rank, rank) > 0):
        is_set, value, absent = launcher.rank, rank, launcher.count
    elif count and _whole(launcher.count, count) > 1:
        is_set, value, absent = launcher.count, count, launcher.rank
    else:
        return
    raise UsageError(
        f"{is_set} is {value}, but {absent} is not set: is this one of several processes? To train together: set "
        f"{launcher.rank} (0, 1, …), {launcher.count} (the number of processes), MASTER_ADDR and MASTER_PORT for each process, or start the "
        f"processes with torchrun. To train in one process: unset {is_set}",
        variable=is_set,
    )


def _numbers(environment: Mapping[str, str], launcher: _Launcher) -> tuple[int, int]:
    """Return the rank and the number of processes; (0, 1) if the launcher's variables are not set."""
    rank, count = environment.get(launcher.rank), environment.get(launcher.count)
    if count is None and launcher.name == "srun" and _whole(launcher.rank, rank or "0") > 0:
        count = environment.get("SLURM_NTASKS")  # in a batch script the rank is never above 0
    if not rank or not count:
        return 0, 1
    numbers = _whole(launcher.rank, rank), _whole(launcher.count, count)
    if numbers[0] >= numbers[1]:
        raise UsageError(
            f"{launcher.rank} is {rank}, but {launcher.count} is {count}: ranks must be from 0 to {int(count) - 1}"
        )
    return numbers


def _whole(name: str, text: str) -> int:
    if not text.strip().isdecimal():
        raise UsageError(f"the variable {name} must be a whole number, got {text!r}", variable=name)
    return int(text)
