"""Tells the parts of an update apart by timing the calls it makes.

The learner is not changed: methods of this one object are replaced by timed ones. A call inside
another timed call belongs to the outer one. `backward` lies between two calls.
"""

import functools
import time
from collections import defaultdict
from collections.abc import Callable
from typing import Any

import torch
from _timing import synchronize

from robodreamer.learning.learner import Learner


class Spans:
    """Seconds per part of an update, told by `clock`.

    On a CPU that is "cpu", processor time, because other jobs stretch short calls most; on a GPU
    it is "wall".
    """

    def __init__(self, learner: Learner, device: torch.device) -> None:
        self.seconds: dict[str, float] = defaultdict(float)
        self.device = device
        self.clock = "cpu" if device.type == "cpu" else "wall"
        self._depth = 0
        self._loss_is_ready = 0.0
        agent, model, actor_critic = (
            learner.agent,
            learner.agent.world_model,
            learner.agent.actor_critic,
        )
        self._time(model.encoder, "forward", "encode")
        self._time(model.rssm, "observe", "observe")
        self._time(model.rssm, "prior_parameters", "observe")
        self._time(model.decoder, "vector_losses", "decode")
        self._time(model, "_image_losses", "decode")
        for head in (model.reward, model.continuation):
            self._time(head, "forward", "heads")
            self._time(head, "loss", "heads")
        self._time(actor_critic, "imagine", "imagine")
        self._time(agent, "predict_rewards", "actor-critic")
        self._time(actor_critic, "imagined_losses", "actor-critic")
        self._time(actor_critic, "replay_loss", "actor-critic")
        self._time(learner.optimizer, "step", "optimizer", before=self._note_backward)
        self._time(agent, "total_loss", "total", after=self._note_loss)

    def take(self) -> dict[str, float]:
        """Return the seconds since the last call, by part."""
        taken = dict(self.seconds)
        self.seconds.clear()
        return taken

    def _time(
        self,
        owner: Any,
        name: str,
        part: str,
        *,
        before: Callable[[], None] | None = None,
        after: Callable[[], None] | None = None,
    ) -> None:
        method = getattr(owner, name)

        @functools.wraps(method)
        def timed(*args: Any, **kwargs: Any) -> Any:
            if before:
                before()
            began = self._now()
            self._depth += 1
            result = method(*args, **kwargs)
            self._depth -= 1
            if not self._depth:
                self.seconds[part] += self._now() - began
            if after:
                after()
            return result

        setattr(owner, name, timed)

    def _now(self) -> float:
        synchronize(self.device)
        return time.process_time() if self.clock == "cpu" else time.perf_counter()

    def _note_loss(self) -> None:
        self._loss_is_ready = self._now()

    def _note_backward(self) -> None:
        self.seconds["backward"] += self._now() - self._loss_is_ready
