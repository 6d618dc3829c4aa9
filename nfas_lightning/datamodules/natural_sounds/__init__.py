"""165 natural sounds and the six response components of auditory cortex (Norman-Haignere et al. 2015)."""

from nfas_lightning.datamodules.catalogue.benchmark import Benchmark

_BY_HAND = """\
The sounds and components of Norman-Haignere et al. (2015) state no license, so they are neither downloaded
nor passed on: nothing was downloaded.

  - The authors keep the sounds at https://mcdermottlab.mit.edu/svnh/Natural-Sound/Stimuli.html; ask them for
    the components' responses (doi:10.1016/j.neuron.2015.11.035).
  - The benchmark reads two archives of plain arrays:

       {folder}/
         components.npz    R (165, 6), component_names (6,), stim_names (165,)
         sounds_16k.npz    audio (165, 32000) int16, sr, names (165,)"""

BENCHMARK = Benchmark(
    name="natural_sounds",
    title="165 sounds of 2 s; 6 components of auditory cortex",
    modality="audio",
    license="none stated",
    size="about 8 MB as read here",
    access="the authors",
    reference="doi:10.1016/j.neuron.2015.11.035",
    datamodule=f"{__name__}.natural_sounds_datamodule:NaturalSoundsDataModule",
    folder="natsound165",
    signs=("components.npz", "sounds_16k.npz"),
    counts=(("components", "components.npz"), ("sounds", "sounds_16k.npz")),
    check=f"{__name__}.natural_sounds_reader:natural_sounds_rows",
    by_hand=_BY_HAND,
)
