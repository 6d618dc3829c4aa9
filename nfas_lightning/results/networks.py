"""What a network computes with, in plain values."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Mapping
from collections.abc import Set as AbstractSet
from typing import Any

import torch
from torch import nn

from nfas_lightning.results.code import is_transient, name_of

__all__ = ["network_parts"]

Describe = Callable[[object], object]
Attributes = Callable[[object, AbstractSet[str]], list[object]]
_PLAIN = (bool, int, float, str)


def network_parts(module: nn.Module, describe: Describe, attributes: Attributes) -> list[object]:
    """Return a module's class, attributes, weights, buffers, hooks and children."""
    if isinstance(module, torch.jit.ScriptModule):
        return _script(module, describe)
    parameters, home = module._parameters, type(module).__module__
    tables = {name for name in module._non_persistent_buffers_set if is_transient(name, home)}
    buffers = {name: value for name, value in module._buffers.items() if name not in tables}
    names = set(vars(module)) - _framework_attributes()
    # weight_norm, spectral_norm and prune compute these anew before each pass
    names -= {name for name in names if {f"{name}_v", f"{name}_orig"} & set(parameters)}
    if isinstance(module, torch.fx.GraphModule):
        names -= {"_graph", "_code", "meta"}  # its class has the code
    is_extra = type(module).get_extra_state is not nn.Module.get_extra_state
    return [
        describe(type(module)),
        attributes(module, names),
        [[name, describe(value)] for name, value in (*parameters.items(), *buffers.items())],
        describe(module.get_extra_state()) if is_extra else None,
        _hooks(module._forward_pre_hooks, module._forward_pre_hooks_with_kwargs, describe),
        _hooks(module._forward_hooks, module._forward_hooks_with_kwargs, describe),
        [[name, describe(child)] for name, child in module._modules.items()],
    ]


def _script(module: torch.jit.ScriptModule, describe: Describe) -> list[object]:
    """TorchScript, whose code is a graph; constants in it are not printed whole."""
    state = [[name, describe(value)] for name, value in module.state_dict().items()]
    if not hasattr(module, "forward"):
        return ["script", state]
    graph: Any = module.inlined_graph
    code = re.sub(r"___torch_mangle_\d+\.", "", graph.str(False))
    constants = [node.output() for node in graph.findAllNodes("prim::Constant")]
    read = sorted(set(re.findall(r'GetAttr\[name="(\w+)"\]', code)))
    held = [[getattr(part, name, None) for name in read] for part in module.modules()]
    numbers = [value for values in held for value in values if type(value) in _PLAIN]
    return ["script", state, code, [describe(value.toIValue()) for value in constants], numbers]


def _hooks(hooks: Mapping[int, Any], with_kwargs: Mapping[int, bool], describe: Describe) -> list[object]:
    """Hooks in their order, without those of this package, which look and change nothing."""
    own = [(i, hook) for i, hook in hooks.items() if not name_of(hook).startswith("nfas_lightning.")]
    return [[describe(hook), i in with_kwargs] for i, hook in own]


@functools.cache
def _framework_attributes() -> frozenset[str]:
    """Attributes that torch and Lightning keep in any module: flags, registries and the Trainer."""
    # here: it takes seconds to import, which readers of finished runs do without
    from nfas_lightning.lightning_packages import LightningModule

    compiled = ("_compiled_call_impl", "_compile_kwargs", "_is_torch_compile")
    return frozenset((*vars(nn.Module()), *vars(LightningModule()), *compiled))
