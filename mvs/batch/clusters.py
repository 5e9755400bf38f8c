"""Dask clusters: workers on this machine, a running scheduler, Slurm or Kubernetes."""

from __future__ import annotations

import importlib
import logging
import tomllib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from calib.capture import CaptureError
from mvs.batch.engines import DaskEngine, Engine, SerialEngine

_MOST_STARTS = 5
_THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


@dataclass(frozen=True)
class ClusterOptions:
    """Where frames are worked on.

    Attributes:
        workers: processes that work on a frame each; 1 works in this one.
        scheduler: address of a running Dask scheduler, tcp://host:8786, whose workers are used.
        slurm: workers are Slurm jobs (dask-jobqueue).
        kubernetes: workers are Kubernetes pods (dask-kubernetes and its operator).
        cluster_config: TOML file with a table [slurm] or [kubernetes]: arguments of dask-jobqueue's
            SLURMCluster (queue, account, walltime, ...) or dask-kubernetes' KubeCluster (image,
            namespace, ...). Dask's own configuration files hold, too.
        memory_limit: of a worker, as 2GB; a worker beyond it is ended and its frame tried again.
            Its share of the machine if not given.
        allowed_failures: how many workers may die of a frame before it is given up; a scheduler
            that runs already has its own number.
        resources: what a worker must have, as GPU=1, in Dask's sense.
        patience: seconds to wait for a scheduler that is gone.
        dashboard: port of the dashboard, 0 for any that is free.
    """

    workers: int = 1
    scheduler: str | None = None
    slurm: bool = False
    kubernetes: bool = False
    cluster_config: Path | None = None
    memory_limit: str | None = None
    allowed_failures: int = 5
    resources: str | None = None
    patience: float = 60.0
    dashboard: int = 8787

    def __post_init__(self) -> None:
        if self.workers < 1:
            raise ValueError(f"--workers must be at least 1, got {self.workers}")
        if self.allowed_failures < 0:
            raise ValueError(
                f"--allowed-failures must not be negative, got {self.allowed_failures}"
            )
        kinds = [self.scheduler is not None, self.slurm, self.kubernetes]
        if sum(kinds) > 1:
            raise ValueError("--scheduler, --slurm and --kubernetes exclude each other")
        if self.cluster_config is not None and not (self.slurm or self.kubernetes):
            raise ValueError("--cluster-config is for --slurm and --kubernetes")
        if self.scheduler is not None and self.memory_limit is not None:
            raise ValueError(
                "--memory-limit: workers of a running scheduler have theirs; give it to "
                "dask worker --memory-limit"
            )
        self.required_resources()

    @property
    def is_serial(self) -> bool:
        """Whether there is nobody but this process."""
        elsewhere = self.scheduler is not None or self.slurm or self.kubernetes
        limited = self.memory_limit is not None or self.resources is not None
        return self.workers == 1 and not elsewhere and not limited

    def required_resources(self) -> dict[str, float] | None:
        """What workers must have, by name.

        Raises:
            ValueError: if ``resources`` is not NAME=NUMBER, or several with commas between them.
        """
        if self.resources is None:
            return None
        found = {}
        for part in self.resources.split(","):
            name, _, value = part.partition("=")
            try:
                found[name.strip()] = float(value)
            except ValueError:
                raise ValueError(f"--resources: {part!r} is not NAME=NUMBER, as GPU=1") from None
        return found


@contextmanager
def open_engine(
    options: ClusterOptions, threads: int, patience: float
) -> Iterator[tuple[Engine, str]]:
    """Start or find the workers.

    Args:
        options: where.
        threads: of every worker's kernels.
        patience: seconds to wait for a running scheduler.

    Yields:
        The engine, and the address of its dashboard ("" without).

    Raises:
        ValueError: if a library is missing, the cluster cannot be had, or a running scheduler
            does not answer in time.
    """
    if options.is_serial:
        yield SerialEngine(), ""
        return
    distributed = _distributed()
    with ExitStack() as stack:
        stack.enter_context(_configuration(options, threads))
        if options.scheduler is not None:
            kind, place = "scheduler", options.scheduler
        elif options.slurm:
            kind, place = "slurm", stack.enter_context(slurm_cluster(options, threads))
            _keep_up(place, options.workers)
        elif options.kubernetes:
            kind, place = "kubernetes", stack.enter_context(_kubernetes_cluster(options, threads))
        else:
            kind, place = "processes", stack.enter_context(_local_cluster(options))
        try:
            client = distributed.Client(place, timeout=patience)
        except (OSError, TimeoutError, ValueError):
            raise ValueError(_no_answer(options.scheduler)) from None
        stack.callback(_close, client)
        yield DaskEngine(client, kind, options.required_resources()), str(client.dashboard_link)


def _no_answer(scheduler: str | None) -> str:
    where, what = "the scheduler of these workers", "look at the cluster's log"
    if scheduler is not None:
        where, what = scheduler, "start one there (dask scheduler)"
    return (
        f"{where}: no Dask scheduler answers; {what} and run the same command again: what is "
        "finished is kept"
    )


def _close(client: Any) -> None:
    # Nobody may be there any more to say goodbye to.
    with suppress(OSError, TimeoutError):
        client.close(timeout=2)


@contextmanager
def _configuration(options: ClusterOptions, threads: int) -> Iterator[None]:
    """Dask's, for clusters of ours; and its loggers quiet, since what they say is reported."""
    import dask

    environment = dict.fromkeys(_THREAD_VARIABLES, "1") | {"NUMBA_NUM_THREADS": str(threads)}
    settings = {
        "distributed.scheduler.allowed-failures": options.allowed_failures,
        # A task waits at the scheduler, not at a worker whose death it would be blamed for.
        "distributed.scheduler.worker-saturation": 1.0,
        # Kernels hold the interpreter's lock for minutes; that is not death.
        "distributed.scheduler.worker-ttl": None,
        "distributed.nanny.pre-spawn-environ": environment,
        # Nothing but frames is in memory: there is nothing to spill, and pausing would be for ever.
        "distributed.worker.memory.target": False,
        "distributed.worker.memory.spill": False,
        "distributed.worker.memory.pause": False,
        "distributed.worker.memory.terminate": 0.95,
        "distributed.admin.tick.limit": "1h",
        "distributed.comm.timeouts.connect": "60s",
        "distributed.deploy.lost-worker-timeout": "5s",
    }
    loggers = [logging.getLogger(name) for name in ("distributed", "tornado.application", "bokeh")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL + 1)
    try:
        with dask.config.set(settings):
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def _local_cluster(options: ClusterOptions) -> Any:
    for attempts_left in reversed(range(_MOST_STARTS)):
        try:
            cluster = _distributed().LocalCluster(
                n_workers=options.workers,
                threads_per_worker=1,
                processes=True,
                memory_limit=options.memory_limit or "auto",
                dashboard_address=f"127.0.0.1:{options.dashboard}",
                silence_logs=logging.CRITICAL + 1,
            )
        except (RuntimeError, OSError) as error:
            # A worker that is killed while it starts takes the cluster with it.
            if not attempts_left:
                raise ValueError(f"the workers do not start: {error}") from None
        else:
            break
    _keep_up(cluster, options.workers)
    return cluster


def _keep_up(cluster: Any, workers: int) -> None:
    """Have workers that are gone for good replaced."""
    cluster.adapt(minimum=workers, maximum=workers, interval="2s")


def slurm_cluster(options: ClusterOptions, threads: int) -> Any:
    """Slurm jobs of one worker each, not yet submitted.

    Raises:
        ValueError: if dask-jobqueue is missing, or does not take the configuration.
    """
    try:
        jobqueue: Any = importlib.import_module("dask_jobqueue")
    except ImportError:
        raise ValueError("--slurm needs dask-jobqueue: pip install 'headmvs[cluster]'") from None
    environment = dict.fromkeys(_THREAD_VARIABLES, "1") | {"NUMBA_NUM_THREADS": str(threads)}
    given = _table(options.cluster_config, "slurm")
    prologue = [f"export {name}={value}" for name, value in environment.items()]
    arguments = {
        "cores": threads,
        "processes": 1,
        "memory": options.memory_limit or "4GB",
        **given,
        "job_script_prologue": [*prologue, *given.get("job_script_prologue", [])],
    }
    # One frame at a time, whatever the number of cores of a job.
    arguments["worker_extra_args"] = ["--nthreads", "1", *given.get("worker_extra_args", [])]
    try:
        return jobqueue.SLURMCluster(**arguments)
    except (TypeError, ValueError, RuntimeError) as error:
        raise ValueError(f"--slurm: {error}; check --cluster-config") from None


def _kubernetes_cluster(options: ClusterOptions, threads: int) -> Any:
    try:
        from dask_kubernetes.operator import KubeCluster
    except ImportError:
        raise ValueError("--kubernetes needs dask-kubernetes: pip install it") from None
    environment = dict.fromkeys(_THREAD_VARIABLES, "1") | {"NUMBA_NUM_THREADS": str(threads)}
    memory = options.memory_limit or "4Gi"
    size = {"memory": memory, "cpu": str(threads)}
    arguments = {
        "name": "headmvs",
        "n_workers": options.workers,
        "env": environment,
        "resources": {"requests": size, "limits": size},
        **_table(options.cluster_config, "kubernetes"),
    }
    try:
        return KubeCluster(**arguments)
    except (TypeError, ValueError, RuntimeError, OSError) as error:
        raise ValueError(f"--kubernetes: {error}; check --cluster-config") from None


def _table(path: Path | None, name: str) -> dict[str, Any]:
    if path is None:
        return {}
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise CaptureError(path, f"not a readable TOML file ({error})", "correct it") from None
    table = content.get(name)
    if not isinstance(table, dict):
        raise CaptureError(path, f"holds no table [{name}]", f"put the arguments below [{name}]")
    return table


def _distributed() -> Any:
    try:
        import distributed
    except ImportError:
        raise ValueError(
            "more than this process needs Dask: pip install 'headmvs[cluster]', or leave out "
            "--workers, --memory-limit and the like"
        ) from None
    return distributed
