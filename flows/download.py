"""Download ahead of the window what the next night will install: the night then waits for no download."""

from __future__ import annotations

from prefect import flow
from prefect.client.schemas.objects import State
from prefect.states import Completed, Failed

from flows.aside import aside
from flows.form import EstateName
from model.outcome import Stopped
from tasks import download, review
from tasks.run import Run, open_run
from tasks.step import gather, settle


@flow(name="download-updates", flow_run_name="download for {estate}", persist_result=False, retries=0)
def download_updates(estate: EstateName) -> State[tuple[str, ...]]:
    """Scan, and fetch the Windows updates that the policy admits. May run outside of the window: nothing is installed.

    The night scans and freezes its own list. What it finds downloaded it does not download again.

    Args:
        estate: Name of the estate in the estate store, or the path of its file.
    """
    try:
        with open_run(estate) as run:
            download.must_be_of_use(run)
            with aside(run):
                done = fetch(run)
    except Stopped as stopped:
        return Failed(message=str(stopped), data=stopped)
    ready = tuple(f"{each.host}: {title}" for each in done for title in each.ready)
    count = "1 update lies" if len(ready) == 1 else f"{len(ready)} updates lie"
    return Completed(message=f"{run.estate.name}: {count} ready for the night; nothing was installed.", data=ready)


def fetch(run: Run) -> list[download.Downloads]:
    """Scan every host, and download on each what is admitted; raises Stopped with all that could not be fetched."""
    scans = {host: review.scan.submit(run, host, 0) for host in run.hosts}
    settle("review", scans.values())
    wanted = download.admitted(run, {host: scan.result() for host, scan in scans.items()})
    done, others = gather([download.download_on.submit(run, host, steps) for host, steps in wanted.items()])
    problems = download.problems_of(done, others)
    if problems:
        raise Stopped("download", problems)
    return done
