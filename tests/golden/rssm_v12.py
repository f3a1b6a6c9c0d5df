"""RSSMs of DreamerV1 and V2, made from golden files and filled with their parameters."""

from typing import NamedTuple, cast

from layers_v12 import by_name, dense, layer, split, unit
from vectors import Case, Options, fill

from robodreamer.config import NetworkConfig, PartsConfig
from robodreamer.models.cells import GRU, LayerNormGRU
from robodreamer.models.latents import CategoricalLatent, GaussianLatent, Latent
from robodreamer.models.rssm import RSSM
from robodreamer.reference import Counterpart


class Model(NamedTuple):
    """An RSSM filled with a case's parameters; of an ensemble of priors one for each member."""

    members: list[RSSM]
    layers: dict[str, Counterpart]
    """Counterparts of the first member's layers and of all priors."""
    latent: Latent

    @property
    def rssm(self) -> RSSM:
        """Member that filters; all have the same parameters but for the prior's."""
        return self.members[0]


def make_latent(options: Options) -> Latent:
    """Return the family of a case."""
    if options.get("discrete"):
        return CategoricalLatent(options["stoch"], options["discrete"], unimix=0.0)
    return GaussianLatent(
        options["stoch"], options.get("std_act", "softplus"), float(options["min_std"])
    )


def make_rssm(options: Options, parts: PartsConfig) -> RSSM:
    """Return the RSSM of a case, with one hidden layer for prior and posterior."""
    network = NetworkConfig(
        deter=options["deter"],
        hidden=options["hidden"],
        prior_layers=1,
        posterior_layers=1,
        blocks=1,
        decoder_blocks=1,
        parts=parts,
    )
    return RSSM(network, make_latent(options), options["embed"], options["action"])


def model_v1(case: Case) -> Model:
    """Return the model of a V1 case; its bias is to be cut in all arrays."""
    parts = PartsConfig(cell="gru", norm="none", activation="elu", initializer="glorot")
    rssm = make_rssm(case.options, parts)
    layers = by_name(
        dense(cast("GRU", rssm.core).input.linear, "dyn/img1"),
        unit(rssm.core, "dyn/gru"),
        dense(rssm.prior.layers[0].linear, "dyn/img2"),
        dense(rssm.prior_output, "dyn/img3"),
        dense(rssm.posterior.layers[0].linear, "dyn/obs1"),
        dense(rssm.posterior_output, "dyn/obs2"),
    )
    fill(layers, split(case.section("param")))
    return Model([rssm], layers, rssm.latent)


def model_v2(case: Case, options: Options | None = None) -> Model:
    """Return the model of a V2 case, with other options than its own if they are given."""
    options = options or case.options
    parts = PartsConfig(
        cell="layer_norm_gru",
        norm=options["norm"],
        activation=options["act"],
        initializer="glorot",
    )
    members, layers = [], {}
    for number in range(options["ensemble"]):
        rssm = make_rssm(options, parts)
        shared, prior = layers_v2(rssm, number)
        own = {name: a for name, a in case.section("param").items() if name in shared | prior}
        fill(shared | prior, own)
        members.append(rssm)
        layers = shared | prior | layers  # the first member's stay
    return Model(members, layers, members[0].latent)


def layers_v2(rssm: RSSM, number: int) -> tuple[dict[str, Counterpart], dict[str, Counterpart]]:
    """Return the counterparts of the shared layers, and of a member's prior."""
    core = cast("LayerNormGRU", rssm.core)
    (img_in, img_out, obs_out) = (core.input, rssm.prior.layers[0], rssm.posterior.layers[0])
    shared = by_name(
        layer(img_in, "dyn/img_in", "dyn/img_in_norm"),
        unit(core, "dyn/gru"),
        layer(obs_out, "dyn/obs_out", "dyn/obs_out_norm"),
        dense(rssm.posterior_output, "dyn/obs_dist"),
    )
    prior = by_name(
        layer(img_out, f"dyn/img_out_{number}", f"dyn/img_out_norm_{number}"),
        dense(rssm.prior_output, f"dyn/img_dist_{number}"),
    )
    return shared, prior
