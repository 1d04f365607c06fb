"""The co-optimisation loop: train, measure, allocate under the budgets, apply, and again."""

from __future__ import annotations

import time

from hwmpq.codesign.ablate import ablated
from hwmpq.codesign.checkpoint import Checkpoint
from hwmpq.codesign.record import RoundRecord
from hwmpq.codesign.stage import Setting, Stage
from hwmpq.codesign.train import reestimate_batch_norm
from hwmpq.methods.base import Schedule, Session, Task
from hwmpq.quant.insert import QuantizedModel


def co_optimise(setting: Setting, checkpoint: Checkpoint) -> tuple[QuantizedModel, Stage]:
    """Train the quantised network while its bits are found.

    Returns:
        the network at the best validation accuracy of the epochs with final bits, and its stage.
    """
    schedule = setting.method.schedule(setting.recipe.epochs)
    last_allocation = schedule.allocate_after[-1]
    session = _open_session(setting, schedule, checkpoint)
    stage = Stage(setting, "quantised", session.model.module, session, checkpoint, schedule.rate)
    for epoch in range(stage.standing.epochs, schedule.epochs + 1):
        if epoch in schedule.allocate_after:
            changed = _allocate(setting, stage, session)
            assignment = stage.standing.assignment
            if epoch < last_allocation:
                session.apply(assignment)
            else:
                searched, session = session, session.fine_tuning(assignment)
                if session is not searched:
                    stage.replace_network(session.model.module)
            if changed:
                _reestimate(setting, session)
        if epoch == schedule.epochs:
            break
        phase = schedule.phase(epoch)
        stage.announce(phase, schedule.epochs_of(phase))
        session.begin_epoch(phase)
        stage.run_epoch(phase, session, selectable=phase == "fine-tune")
    session.model.module.load_state_dict(stage.best)
    return session.model, stage


def _open_session(setting: Setting, schedule: Schedule, checkpoint: Checkpoint) -> Session:
    """The session as it was when the checkpoint was written; its state is loaded by the stage."""
    plan = setting.plan
    network = plan.copy_network()
    float_state = checkpoint.section("float")
    if schedule.start == "float":
        network.load_state_dict(dict(float_state))
    task = Task(
        workload=plan.question.workload,
        data=plan.data,
        costs=plan.question.costs,
        resources=plan.question.resources(),
        candidates=plan.question.candidates,
        fixed=plan.question.fixed,
        seed=plan.seed,
        float_state=float_state,
        schedule=schedule,
    )
    session = setting.method.prepare(network.to(setting.device), task)
    standing = checkpoint.standing
    if standing.assignment:
        session.apply(standing.assignment)
    if standing.epochs > schedule.allocate_after[-1]:
        session = session.fine_tuning(standing.assignment)
    return session


def _allocate(setting: Setting, stage: Stage, session: Session) -> bool:
    """Score and solve; record the round, and say whether bits changed.

    The answer replaces the assignment in force if it is the first one, or if it is better under
    the current scores by more than the hysteresis.
    """
    begun = time.perf_counter()
    plan, standing = setting.plan, stage.standing
    rounds = standing.history.rounds
    table = session.sensitivity(plan.question.candidates)
    table = ablated(table, setting.ablation, fixed=plan.question.fixed, seed=plan.seed)
    problem = plan.question.problem(table)
    allocation = session.allocator(plan.seed).solve(problem)
    before = standing.assignment
    accepted = True
    if before:
        present = problem.objective(problem.choices(before))
        gain = present - allocation.objective
        unchanged = dict(before) == dict(allocation.assignment)
        accepted = unchanged or gain > setting.recipe.hysteresis * abs(present)
    assignment = dict(allocation.assignment) if accepted else dict(before)
    in_force = before or session.model.assignment
    changed = sum(in_force[name] != precision for name, precision in assignment.items())
    record = RoundRecord(
        round=len(rounds),
        epoch=standing.epochs,
        allocation=allocation,
        accepted=accepted,
        assignment=assignment,
        changed_layers=changed,
        totals=plan.totals(assignment),
        sensitivity_file=setting.folder.write_sensitivity(len(rounds), table),
        seconds_allocating=time.perf_counter() - begun,
        note=session.note(assignment),
    )
    history = standing.history.model_copy(update={"rounds": (*rounds, record)})
    stage.standing = standing.model_copy(update={"history": history, "assignment": assignment})
    return changed > 0


def _reestimate(setting: Setting, session: Session) -> None:
    reestimate_batch_norm(
        session.model.module,
        setting.plan.data.train,
        batch_size=setting.recipe.batch_size,
        device=setting.device,
    )
