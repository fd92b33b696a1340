"""Work on an estate's hosts that is part of no night: scans, downloads."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from tasks import lease
from tasks.run import Run
from tasks.step import settle


@contextmanager
def aside(run: Run) -> Iterator[None]:
    """Hold the estate for as long as the block runs; raises Stopped where a run has left it quiet, or holds it.

    The key is its own: it goes on with no other run, and no other goes on with it.
    """
    at_rest = [lease.look_whether_at_rest.submit(run, host) for host in sorted(run.hosts)]
    lease.must_be_at_rest(run, settle("lease", at_rest))
    run.named = True
    settle("lease", [lease.take.submit(run)])
    try:
        lease.keep_alive(run)
        yield
    finally:
        run.end_work()
        lease.give_back(run, finished=True)
