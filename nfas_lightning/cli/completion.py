"""`nfas --print_completion SHELL`: a script that completes commands, options, models and benchmarks."""

from __future__ import annotations

from collections.abc import Iterable
from inspect import Parameter

from nfas_lightning.cli.messages import refuse
from nfas_lightning.errors import nearest

__all__ = ["completion"]

_SHELLS = {"bash": "", "zsh": "autoload -U +X bashcompinit && bashcompinit\n"}
# words are told apart at spaces: bash would break timm:resnet18 at the colon, and takes what is behind it
_SCRIPT = """\
{setup}_nfas() {{
  local line="${{COMP_LINE:0:COMP_POINT}}" words
  local current="${{line##* }}"
  case "$line" in
{cases}
    *) words="{top}" ;;
  esac
  [[ "$line" =~ (models (info|check|pin)|score)" " ]] && words="$words {models}"
  [[ "$line" == *" --on $current" ]] && words="{benchmarks}"
  COMPREPLY=($(compgen -W "$words" -- "$current"))
  local source="${{current%"${{current##*:}}"}}"
  [[ "$COMP_WORDBREAKS" == *:* ]] && COMPREPLY=("${{COMPREPLY[@]#"$source"}}")
}}
complete -o default -F _nfas nfas
"""


def completion(shell: str, options: dict[str, dict[str, Parameter]], lightning: Iterable[str]) -> str:
    """Return the script for a shell: names are those of this moment, the hub's cache included.

    Args:
        shell: bash or zsh.
        options: parameters of each command, by its name.
        lightning: commands of LightningCLI.
    """
    if shell not in _SHELLS:
        refuse("nfas", f"--print_completion takes bash or zsh, got {shell!r}.{nearest(shell, _SHELLS)}")
    from nfas_lightning.leaderboard import benchmark_configs
    from nfas_lightning.models.sources import listed_models, sources

    models = [*(name.removeprefix("zoo:") for name in listed_models()), *listed_models()]
    for source, found in sources().items():
        try:
            models += [f"{source}:{name}" for name in found.names()]
        except ImportError:
            continue  # nothing of a library that is not here can be completed
    groups: dict[str, list[str]] = {}
    for name in options:
        first, _, second = name.partition(" ")
        groups.setdefault(first, []).extend([second] if second else [])
    # the longest first, since the first case that fits is taken
    words = {
        name: [f"--{key}" for key, value in found.items() if value.default not in (Parameter.empty, ())]
        + ["--config", "--json", "--help"]
        for name, found in options.items()
    }
    words |= {name: ["--config", "--print_config", "--json", "--help"] for name in lightning}
    words |= {name: below for name, below in groups.items() if below}
    cases = [
        f'    *"nfas {name} "*) words="{" ".join(words[name])}" ;;'
        for name in sorted(words, key=lambda name: -len(name.split()))
    ]
    return _SCRIPT.format(
        setup=_SHELLS[shell],
        cases="\n".join(cases),
        top=" ".join([*groups, *lightning, "--help", "--version"]),
        models=" ".join(models),
        benchmarks=" ".join(benchmark_configs()),
    )
