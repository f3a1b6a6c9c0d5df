"""RSSMs of DreamerV1 and V2, made from golden files and filled with their parameters."""

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple, cast

import torch
from vectors import Array, Case, Options, fill
from vectors_v12 import by_name, dense, layer_norm

from robodreamer.config import NetworkConfig, PartsConfig
from robodreamer.models.cells import GRU, LayerNormGRU
from robodreamer.models.latents import CategoricalLatent, GaussianLatent, Latent
from robodreamer.models.rssm import RSSM
from robodreamer.reference import Counterpart, Order


def gru_v1(cell: GRU, name: str) -> Iterator[Counterpart]:
    """Yield the counterparts of V1's unit: columns update, reset, candidate; ours reset first.

    Its bias has to be cut in two before, see `with_two_biases`.
    """
    size = cell.cell.hidden_size
    gates = [*range(size, 2 * size), *range(size), *range(2 * size, 3 * size)]
    order, unit = Order(axis=0, positions=tuple(gates)), cell.cell
    yield Counterpart(unit.weight_ih, f"{name}/kernel", (1, 0), order)
    yield Counterpart(unit.weight_hh, f"{name}/recurrent_kernel", (1, 0), order)
    yield Counterpart(unit.bias_ih, f"{name}/bias/input", (0,), order)
    yield Counterpart(unit.bias_hh, f"{name}/bias/recurrent", (0,), order)


def with_two_biases(arrays: Mapping[str, Array], name: str) -> dict[str, Array]:
    """Return arrays in which V1's two biases of a unit have a name each."""
    cut = dict(arrays)
    cut[f"{name}/bias/input"], cut[f"{name}/bias/recurrent"] = cut.pop(f"{name}/bias")
    return cut


def gru_v2(cell: LayerNormGRU, name: str) -> Iterator[Counterpart]:
    """Yield the counterparts of V2's unit, whose gates come in our order."""
    yield from dense(cell.gates, name)
    yield from layer_norm(cell.norm, f"{name}/norm")


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
        gru_v1(cast("GRU", rssm.core), "dyn/gru"),
        dense(rssm.prior.layers[0].linear, "dyn/img2"),
        dense(rssm.prior_output, "dyn/img3"),
        dense(rssm.posterior.layers[0].linear, "dyn/obs1"),
        dense(rssm.posterior_output, "dyn/obs2"),
    )
    fill(layers, with_two_biases(case.section("param"), "dyn/gru"))
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
        _layer(img_in, "dyn/img_in", "dyn/img_in_norm"),
        gru_v2(core, "dyn/gru"),
        _layer(obs_out, "dyn/obs_out", "dyn/obs_out_norm"),
        dense(rssm.posterior_output, "dyn/obs_dist"),
    )
    prior = by_name(
        _layer(img_out, f"dyn/img_out_{number}", f"dyn/img_out_norm_{number}"),
        dense(rssm.prior_output, f"dyn/img_dist_{number}"),
    )
    return shared, prior


def _layer(layer: Any, name: str, norm: str) -> Iterator[Counterpart]:
    yield from dense(layer.linear, name)
    if isinstance(layer.norm, torch.nn.LayerNorm):
        yield from layer_norm(layer.norm, norm)
