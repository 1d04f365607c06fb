"""Who works on which trial of a shared study.

A trial is claimed by asking the study for it, which its storage does at once for one asker alone.
Of the trials that are finished, at work or waiting, those with the lowest numbers count; a claim
beyond the number of trials wanted is given up, so that all processes together make exactly so
many. Whoever works on a trial leaves a beat in it every few seconds. A trial whose owner is a dead
process of this machine, or whose beat stands still, is failed and its values are put back for the
next to ask. Only a process that started under the same boot and counts processes in the same
namespace can tell that another is dead: containers may share a host name and not their processes.
"""

from __future__ import annotations

import os
import platform
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Final

from hwmpq.errors import OutputError
from hwmpq.sweep.trials import optuna_module

_OWNER: Final = "owner"
_BEAT: Final = "beat"
_TRIES: Final = "tries"
BEAT_S: Final = 5.0
STALE_S: Final = 60.0
"""Without a beat for so long a trial of another machine counts as lost."""
_BOOT: Final = Path("/proc/sys/kernel/random/boot_id")
_NAMESPACE: Final = Path("/proc/self/ns/pid")


class Claims:
    """The trials of one study, as one process sees and claims them.

    Args:
        study: of Optuna, in a shared storage.
        wanted: trials that all processes make together.
        tries: how often the values of a lost trial are put back.
    """

    def __init__(self, study: Any, wanted: int, tries: int) -> None:
        optuna = optuna_module()
        self.study = study
        self.wanted = wanted
        self.tries = tries
        self.state = optuna.trial.TrialState
        self.lost_error = (optuna.exceptions.UpdateFinishedTrialError, ValueError)
        self.mine: dict[int, Any] = {}
        self.owner = {"host": platform.node(), "process": os.getpid(), "processes": _processes()}
        self._seen: dict[int, tuple[object, float]] = {}

    def finished(self) -> list[Any]:
        """Trials with a result, by number."""
        return [trial for trial in self._counted() if trial.state == self.state.COMPLETE]

    def _counted(self) -> list[Any]:
        """Trials that count, by number."""
        known = self.study.get_trials(deepcopy=False)
        return [trial for trial in known if trial.state != self.state.FAIL][: self.wanted]

    def take(self, most: int) -> list[Any]:
        """Claim trials while there are any to make."""
        taken: list[Any] = []
        while len(taken) < most and self._is_room():
            trial = self.study.ask()
            if trial.number not in {each.number for each in self._counted()}:
                self._fail(trial.number)
                continue
            trial.set_user_attr(_OWNER, self.owner)
            trial.set_user_attr(_BEAT, 0)
            self.mine[trial.number] = trial
            taken.append(trial)
        return taken

    def _is_room(self) -> bool:
        counted = self._counted()
        waiting = any(trial.state == self.state.WAITING for trial in counted)
        return waiting or len(counted) < self.wanted

    def place(self, number: int) -> int:
        """Which proposal of the study a new trial is, whatever was stopped and put back before.

        Failed trials whose values were put back, or that had none yet, leave their place to the
        next; one that was given up keeps it, so that what takes its place differs.
        """
        known = self.study.get_trials(deepcopy=False)[:number]
        return sum(trial.state != self.state.FAIL or self._is_given_up(trial) for trial in known)

    def _is_given_up(self, trial: Any) -> bool:
        return bool(trial.params) and trial.user_attrs.get(_TRIES, 0) >= self.tries

    @contextmanager
    def unless_lost(self, number: int) -> Iterator[None]:
        """Leave the block, and claim the trial no longer, if someone else has finished it."""
        try:
            yield
        except self.lost_error:
            state = self.study.get_trials(deepcopy=False)[number].state
            if not state.is_finished():
                raise
            self.mine.pop(number, None)

    def done(self, trial: Any) -> None:
        """A trial is no longer this process's."""
        self.mine.pop(trial.number, None)

    def beat(self, count: int) -> None:
        """Show that this process still works on what it claimed."""
        for trial in list(self.mine.values()):
            with self.unless_lost(trial.number):
                trial.set_user_attr(_BEAT, count)

    def give_back(self) -> None:
        """Put back what this process claimed and did not finish."""
        for number in list(self.mine):
            self.mine.pop(number)
            self._put_back(number)

    def collect_lost(self) -> None:
        """Put back trials whose owner is gone."""
        for trial in self._counted():
            if trial.state == self.state.RUNNING and self._is_lost(trial):
                self._put_back(trial.number)

    def _is_lost(self, trial: Any) -> bool:
        if trial.number in self.mine:
            return False
        owner = trial.user_attrs.get(_OWNER)
        if owner and self._sees(owner) and not _lives(owner["process"]):
            return True
        # Clocks of machines differ, so it is this process's own clock that measures.
        now, beat = time.monotonic(), trial.user_attrs.get(_BEAT)
        before, since = self._seen.setdefault(trial.number, (beat, now))
        if beat != before:
            self._seen[trial.number] = (beat, now)
            return False
        return now - since > STALE_S

    def _sees(self, owner: dict[str, Any]) -> bool:
        """Whether the number of an owner's process means the same process here."""
        here = self.owner["processes"]
        same = owner["host"] == self.owner["host"] and owner.get("processes") == here
        return same and here is not None

    def _fail(self, number: int) -> bool:
        """Fail a trial; whether it was this process that did."""
        with self.unless_lost(number):
            self.study.tell(number, state=self.state.FAIL)
            return True
        return False

    def _put_back(self, number: int) -> None:
        if not self._fail(number):
            return
        trial = self.study.get_trials(deepcopy=False)[number]
        if trial.params and not self._is_given_up(trial):
            tries = trial.user_attrs.get(_TRIES, 0) + 1
            self.study.enqueue_trial(trial.params, user_attrs={_TRIES: tries})


def _processes() -> str | None:
    """Boot and namespace in which this process's number counts; None where Linux tells neither."""
    try:
        return f"{_BOOT.read_text(encoding='ascii').strip()} {_NAMESPACE.readlink()}"
    except OSError:
        return None


def _lives(process: int) -> bool:
    """Whether a process of this machine is there."""
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


class Heart:
    """Beats for a process's claims while it is entered.

    Args:
        claims: of this process.
        errors: of the storage, which end the beat and are told by `check`.
    """

    def __init__(self, claims: Claims, errors: Iterable[type[Exception]]) -> None:
        self.claims = claims
        self.errors = tuple(errors)
        self.failure: Exception | None = None
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="hwmpq-beat", daemon=True)

    def __enter__(self) -> Heart:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        count = 0
        while not self._stop.wait(BEAT_S):
            count += 1
            try:
                self.claims.beat(count)
            except self.errors as error:
                self.failure = error
                return

    def check(self) -> None:
        """Tell of a storage that could not be reached.

        Raises:
            OutputError: it could not.
        """
        if self.failure is not None:
            msg = f"the storage of the search cannot be written ({self.failure}); go on: --resume"
            raise OutputError(msg) from self.failure
