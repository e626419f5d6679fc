"""The options that commands share, and what was typed as the options of a recipe."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import click

if TYPE_CHECKING:
    from collections.abc import Callable

    from edgekit._recipe import RecipeOptions

    Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]

# Option of the command line -> option of the recipe, where the two differ.
_NAMES = {
    "target": "targets",
    "precision": "precisions",
    "shape": "shapes",
    "keep_float": "float_nodes",
    "only": "only_ops",
    "option": "options",
}
_LIMITS = {
    "min_sqnr": "min_sqnr_db",
    "min_top1": "min_top1",
    "min_cosine": "min_cosine",
    "max_task_drop": "max_task_drop",
}


def together(*decorators: Decorator) -> Decorator:
    """Several options as one decorator, shown in the order given."""

    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        for decorator in reversed(decorators):
            function = decorator(function)
        return function

    return decorate


output_form = together(
    click.option("--json", "as_json", is_flag=True, help="Print JSON on stdout."),
    click.option("-v", "--verbose", is_flag=True, help="Show a traceback with an error."),
)
target_option = click.option(
    "-t", "--target", multiple=True, help="Device, device@software, alias or toolchain. Repeat for more."
)
shape_only_option = click.option(
    "--shape-only", is_flag=True, help="Read a PyTorch or Hugging Face source without its weights."
)
shape_option = click.option(
    "--shape", multiple=True, metavar="NAME=DIMS", help="Input size, as x=1,3,48,320 or x=1..8,3,48,32..640."
)
own_options = together(
    click.option("--option", multiple=True, metavar="NAME=VALUE", help="An option of a target's own."),
    click.option("--no-fallback", is_flag=True, help="Refuse what would leave the NPU, as fallback=refuse."),
)
bind_option = click.option(
    "--bind", multiple=True, metavar="NAME=VALUE", help="Make an input a constant, as sr=16000."
)
samples_options = together(
    click.option(
        "--samples",
        metavar="DATA",
        help="Folder of images or .npz/.npy, one file, module:function, or random.",
    ),
    click.option("--limit", type=int, metavar="N", help="Take the first N samples only."),
    click.option(
        "--preprocess", metavar="SPEC", help="For images, as size=320x48,fit=pad-right,mean=0.5,std=0.5."
    ),
)
observer_option = click.option("--observer", help="How ranges are taken: minmax, percentile, entropy or mse.")
metric_options = together(
    click.option("--metric", help="Task metric: top1, cer, exact, cosine or module:function."),
    click.option("--vocabulary", metavar="FILE", help="Characters, one a line, for cer and exact."),
    click.option("--max-task-drop", type=float, metavar="D", help="Gate: most the task metric may lose."),
)
gate_options = together(
    click.option("--min-sqnr", type=float, metavar="DB", help="Gate: least SQNR against fp32."),
    click.option("--min-top1", metavar="SHARE", help="Gate: least top-1 agreement, as 0.9 or 90%."),
    click.option("--min-cosine", type=float, metavar="C", help="Gate: least cosine, -1 to 1."),
)
steering_options = together(
    click.option("--scheme", metavar="NAME", help="auto, portable (same scales everywhere) or native."),
    click.option(
        "--float",
        "keep_float",
        multiple=True,
        metavar="NODE",
        help="Keep nodes in float: a name, or a pattern.",
    ),
    click.option("--only", multiple=True, metavar="OP", help="Quantize only this op type; `all` in debug."),
    click.option(
        "--weight-block",
        type=int,
        metavar="N",
        help="w4: weights that share a scale: 32, 64, 128, or 0 (all of a channel).",
    ),
    click.option(
        "--weights", metavar="METHOD", help="w8, w4: rtn, hqq, gptq (needs samples) or auto (measures)."
    ),
    click.option(
        "--rounding", metavar="METHOD", help="int8: nearest, or adaround (slower; by each layer's outputs)."
    ),
)
trust_config_option = click.option(
    "--trust-config", metavar="FILE", help="Sigstore's servers and keys; default: the public-good instance's."
)
trusted_options = together(
    click.option("--key", metavar="FILE", help="The PEM public key that must have signed BUNDLE."),
    click.option(
        "--certificate", metavar="FILE", help="The PEM root certificates that must vouch for the signer."
    ),
    click.option(
        "--identity", metavar="WHO", help="The e-mail address or URI that must have signed by Sigstore."
    ),
    click.option("--issuer", metavar="URL", help="The OpenID Connect issuer that vouches for --identity."),
    trust_config_option,
    click.option("--signature", metavar="FILE", help="The signature; default: BUNDLE.sig."),
)
TRUSTED = ("key", "certificate", "identity", "issuer", "trust_config", "signature")
cache_option = click.option("--no-cache", is_flag=True, help="Neither read nor keep cached stages.")


def recipe_options(typed: dict[str, Any]) -> RecipeOptions:
    """What was really typed, under the recipe's names; options that were not given are left out."""
    given = {
        name: value for name, value in typed.items() if not (value is None or value is False or value == ())
    }
    options: dict[str, Any] = {}
    gate = {_LIMITS[name]: given.pop(name) for name in _LIMITS if name in given}
    if gate:
        options["gate"] = gate
    if given.pop("no_cache", False):
        options["cache"] = "off"
    if given.pop("no_fallback", False):
        given["option"] = (*given.get("option", ()), "fallback=refuse")
    for name, value in given.items():
        options[_NAMES.get(name, name)] = value
    for name in ("options", "bind"):
        if name in options:
            options[name] = _pairs(options[name], f"--{name.removesuffix('s')}")
    return cast("RecipeOptions", options)


def _pairs(texts: tuple[str, ...], typed_as: str) -> dict[str, str]:
    pairs = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not (name and equals):
            raise click.BadParameter(f"'{text}' is not NAME=VALUE", param_hint=typed_as)
        pairs[name] = value
    return pairs
