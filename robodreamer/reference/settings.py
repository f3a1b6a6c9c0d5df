"""Conversion of an agent's settings from the public JAX code of DreamerV3."""

from collections.abc import Iterator, Mapping
from typing import Any

from robodreamer.config import AlgorithmConfig, LossScales, NetworkConfig, OptimizerConfig

# Options that have a single value here, by their path in the reference's agent settings.
FIXED_OPTIONS: dict[str, Any] = {
    "enc.typ": "simple", "enc.simple.act": "silu", "enc.simple.norm": "rms",
    "enc.simple.outer": False, "enc.simple.symlog": True,
    "dec.typ": "simple", "dec.simple.act": "silu", "dec.simple.norm": "rms",
    "dec.simple.outer": False, "dec.simple.strided": False,
    "dyn.typ": "rssm", "dyn.rssm.act": "silu", "dyn.rssm.norm": "rms", "dyn.rssm.absolute": False,
    "rewhead.act": "silu", "rewhead.norm": "rms", "rewhead.output": "symexp_twohot",
    "conhead.act": "silu", "conhead.norm": "rms", "conhead.output": "binary",
    "value.act": "silu", "value.norm": "rms", "value.output": "symexp_twohot",
    "policy.act": "silu", "policy.norm": "rms",
    "policy_dist_cont": "bounded_normal", "policy_dist_disc": "categorical",
    "contdisc": True, "ac_grads": False, "reward_grad": True,
    "repval_loss": True, "repval_grad": True,
    "imag_loss.slowtar": False, "repl_loss.slowtar": False,
    "advnorm.impl": "none", "valnorm.impl": "none", "retnorm.impl": "perc",
    "retnorm.debias": False, "slowvalue.every": 1,
    "opt.momentum": True, "opt.wd": 0.0, "opt.schedule": "const", "opt.anneal": 0,
}  # fmt: skip
# Options of the reference that are one setting here.
SHARED_OPTIONS = (
    ("enc.simple.units", "dec.simple.units", "rewhead.units", "conhead.units", "value.units",
     "policy.units"),
    ("enc.simple.depth", "dec.simple.depth"),
    ("enc.simple.mults", "dec.simple.mults"),
    ("enc.simple.kernel", "dec.simple.kernel"),
    ("rewhead.bins", "value.bins"),
)  # fmt: skip
# Options that older settings leave out, with the value that they had then.
ABSENT_OPTIONS: dict[str, Any] = {"dec.simple.symlog": True, "opt.nesterov": False}
POSITIVE_OPTIONS = ("dec.simple.bspace", "opt.agc")  # 0 switches a part off there


def config_from_reference(
    config: Mapping[str, Any],
) -> tuple[NetworkConfig, AlgorithmConfig]:
    """Convert the reference's agent settings (its `agent:` section, nested).

    Options of initialisation and reporting are ignored; the batch's `replay_context` belongs to the
    protocol.

    Raises:
        ValueError: An option is missing, or its value has no counterpart here.
    """
    options = {**ABSENT_OPTIONS, **dict(_flatten(config))}
    try:
        _check_options(options)
        return _network(options), _algorithm(options)
    except KeyError as error:
        raise ValueError(f"the settings lack {error.args[0]}") from error


def _flatten(config: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in config.items():
        if isinstance(value, Mapping):
            yield from _flatten(value, f"{prefix}{key}.")
        else:
            yield prefix + key, tuple(value) if isinstance(value, list) else value


def _check_options(options: Mapping[str, Any]) -> None:
    """Refuse options without a counterpart, all in one message."""
    problems = [
        f"{name} is {options[name]!r}, only {value!r} is possible"
        for name, value in (FIXED_OPTIONS | ABSENT_OPTIONS).items()
        if options[name] != value
    ]
    problems += [
        f"{', '.join(f'{name} {options[name]}' for name in names)} have to be equal"
        for names in SHARED_OPTIONS
        if len({options[name] for name in names}) > 1
    ]
    problems += [f"{name} has to be above 0" for name in POSITIVE_OPTIONS if options[name] <= 0]
    if options["enc.simple.kernel"] % 2 == 0:
        problems.append("enc.simple.kernel has to be odd")
    if problems:
        raise ValueError(f"settings without a counterpart: {'; '.join(problems)}")


def _network(options: Mapping[str, Any]) -> NetworkConfig:
    return NetworkConfig(
        deter=options["dyn.rssm.deter"],
        hidden=options["dyn.rssm.hidden"],
        stoch=options["dyn.rssm.stoch"],
        classes=options["dyn.rssm.classes"],
        blocks=options["dyn.rssm.blocks"],
        dynamics_layers=options["dyn.rssm.dynlayers"],
        prior_layers=options["dyn.rssm.imglayers"],
        posterior_layers=options["dyn.rssm.obslayers"],
        units=options["enc.simple.units"],
        encoder_layers=options["enc.simple.layers"],
        decoder_layers=options["dec.simple.layers"],
        depth=options["enc.simple.depth"],
        depth_multipliers=options["enc.simple.mults"],
        kernel=options["enc.simple.kernel"],
        decoder_blocks=options["dec.simple.bspace"],
        pooling="stride" if options["enc.simple.strided"] else "max",
        reward_layers=options["rewhead.layers"],
        continue_layers=options["conhead.layers"],
        critic_layers=options["value.layers"],
        actor_layers=options["policy.layers"],
        bins=options["value.bins"],
    )


def _algorithm(options: Mapping[str, Any]) -> AlgorithmConfig:
    return AlgorithmConfig(
        unimix=options["dyn.rssm.unimix"],
        free_nats=options["dyn.rssm.free_nats"],
        horizon=options["imag_length"],
        imagination_last=options["imag_last"],
        discount_horizon=options["horizon"],
        return_lambda=options["imag_loss.lam"],
        entropy_scale=options["imag_loss.actent"],
        slow_critic_rate=options["slowvalue.rate"],
        slow_critic_scale=options["imag_loss.slowreg"],
        replay_lambda=options["repl_loss.lam"],
        replay_slow_critic_scale=options["repl_loss.slowreg"],
        return_rate=options["retnorm.rate"],
        return_low=options["retnorm.perclo"],
        return_high=options["retnorm.perchi"],
        return_limit=options["retnorm.limit"],
        min_std=options["policy.minstd"],
        max_std=options["policy.maxstd"],
        loss_scales=LossScales(
            images=options["loss_scales.rec"],
            vectors=options["loss_scales.rec"],
            reward=options["loss_scales.rew"],
            continuation=options["loss_scales.con"],
            dynamics=options["loss_scales.dyn"],
            representation=options["loss_scales.rep"],
            policy=options["loss_scales.policy"],
            value=options["loss_scales.value"],
            replay_value=options["loss_scales.repval"],
        ),
        optimizer=_optimizer(options),
    )


def _optimizer(options: Mapping[str, Any]) -> OptimizerConfig:
    return OptimizerConfig(
        learning_rate=options["opt.lr"],
        warmup=options["opt.warmup"],
        clip=options["opt.agc"],
        beta1=options["opt.beta1"],
        beta2=options["opt.beta2"],
        epsilon=options["opt.eps"],
    )
