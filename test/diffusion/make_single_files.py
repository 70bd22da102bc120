"""Writes single-files.json.gz: what the single-file layout of Stable Diffusion 1, 2 and XL calls every tensor of the pipelines
in pipelines/sd1, cases/sd2 and pipelines/xl, and which tensors it keeps as one or turned round. Checked here against
diffusers 0.42.1: its own conversion of a file of these names gives the pipeline's tensors back, bit for bit.
Run: python make_single_files.py"""

import gzip
import json
import re
import tempfile
import warnings
from pathlib import Path

import torch

warnings.filterwarnings("ignore")
import transformers.utils.peft_utils as versions  # its demand for a newer PEFT is not about what is used here

versions.check_peft_version = lambda **_: None

import diffusers
from diffusers.loaders import single_file_utils as reference
from safetensors.torch import load_file, save_file
from transformers import CLIPTextModel

diffusers.logging.set_verbosity_error()
HERE = Path(__file__).parent
FOLDERS = {"sd1": HERE / "pipelines/sd1", "sd2": HERE / "cases/sd2", "xl": HERE / "pipelines/xl"}


def load(folder):
    [path] = folder.glob("*.safetensors")
    return load_file(path)


def unet_names(tensors, config):
    """Blocks numbered through: each way's residual blocks, attentions and changes of size in their order."""
    layers, count = config["layers_per_block"], len(config["block_out_channels"])
    parts = {"norm1": "in_layers.0", "conv1": "in_layers.2", "norm2": "out_layers.0", "conv2": "out_layers.3",
             "time_emb_proj": "emb_layers.1", "conv_shortcut": "skip_connection"}
    starts = []
    for block in range(count):
        for layer in range(layers):
            at = 1 + block * (layers + 1) + layer
            starts.append((f"down_blocks.{block}.resnets.{layer}.", f"input_blocks.{at}.0."))
            starts.append((f"down_blocks.{block}.attentions.{layer}.", f"input_blocks.{at}.1."))
        starts.append((f"down_blocks.{block}.downsamplers.0.conv.", f"input_blocks.{(block + 1) * (layers + 1)}.0.op."))
        for layer in range(layers + 1):
            at = block * (layers + 1) + layer
            starts.append((f"up_blocks.{block}.resnets.{layer}.", f"output_blocks.{at}.0."))
            starts.append((f"up_blocks.{block}.attentions.{layer}.", f"output_blocks.{at}.1."))
        last = block * (layers + 1) + layers
        place = 2 if "CrossAttn" in config["up_block_types"][block] else 1
        starts.append((f"up_blocks.{block}.upsamplers.0.conv.", f"output_blocks.{last}.{place}.conv."))
    starts += [("mid_block.resnets.0.", "middle_block.0."), ("mid_block.attentions.0.", "middle_block.1."),
               ("mid_block.resnets.1.", "middle_block.2."), ("conv_in.", "input_blocks.0.0."),
               ("conv_norm_out.", "out.0."), ("conv_out.", "out.2."), ("time_embedding.linear_1.", "time_embed.0."),
               ("time_embedding.linear_2.", "time_embed.2."), ("add_embedding.linear_1.", "label_emb.0.0."),
               ("add_embedding.linear_2.", "label_emb.0.2.")]
    names = {}
    for name in tensors:
        [(old, new)] = [pair for pair in starts if name.startswith(pair[0])]
        rest = name[len(old):]
        if ".resnets." in name or name.startswith("mid_block.resnets"):
            part, kind = rest.rsplit(".", 1)
            rest = f"{parts[part]}.{kind}"
        names[f"model.diffusion_model.{new}{rest}"] = f"unet/{name}"
    return names


def vae_names(tensors, config):
    last = len(config["block_out_channels"]) - 1
    names = {}
    for name in tensors:
        new = name.replace("conv_norm_out", "norm_out").replace("conv_shortcut", "nin_shortcut")
        new = re.sub(r"down_blocks\.(\d)\.resnets", r"down.\1.block", new)
        new = re.sub(r"down_blocks\.(\d)\.downsamplers\.0", r"down.\1.downsample", new)
        new = re.sub(r"up_blocks\.(\d)\.resnets", lambda m: f"up.{last - int(m[1])}.block", new)
        new = re.sub(r"up_blocks\.(\d)\.upsamplers\.0", lambda m: f"up.{last - int(m[1])}.upsample", new)
        new = re.sub(r"mid_block\.resnets\.(\d)", lambda m: f"mid.block_{int(m[1]) + 1}", new)
        new = new.replace("mid_block.attentions.0", "mid.attn_1")
        for part, old in (("group_norm", "norm"), ("to_q", "q"), ("to_k", "k"), ("to_v", "v"), ("to_out.0", "proj_out")):
            new = new.replace(f"attn_1.{part}.", f"attn_1.{old}.")
        names[f"first_stage_model.{new}"] = f"vae/{name}"
    return names


def clip_names(tensors, prefix, component):
    """Inside, the first layout has "text_model." before every name."""
    return {prefix + (name if name.startswith("text_model.") else f"text_model.{name}"): f"{component}/{name}" for name in tensors}


def open_clip_names(tensors, prefix, component, more):
    names = {}
    for name in tensors:
        plain = name.removeprefix("text_model.")
        layer = re.match(r"encoder\.layers\.(\d+)\.(.*)", plain)
        if plain == "text_projection.weight":
            names[prefix + "text_projection"] = {"turned": f"{component}/{name}"}
        elif not layer:
            names[prefix + {"embeddings.token_embedding.weight": "token_embedding.weight",
                            "embeddings.position_embedding.weight": "positional_embedding",
                            "final_layer_norm.weight": "ln_final.weight", "final_layer_norm.bias": "ln_final.bias"}[plain]] = f"{component}/{name}"
        else:
            at = f"{prefix}transformer.resblocks.{layer[1]}."
            part, kind = layer[2].rsplit(".", 1)
            if part in ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"):
                own = [name.replace(part, f"self_attn.{x}_proj") for x in "qkv"]
                names[f"{at}attn.in_proj_{kind}"] = {"joined": [f"{component}/{each}" for each in own]}
            else:
                new = {"self_attn.out_proj": "attn.out_proj", "mlp.fc1": "mlp.c_fc", "mlp.fc2": "mlp.c_proj",
                       "layer_norm1": "ln_1", "layer_norm2": "ln_2"}[part]
                names[f"{at}{new}.{kind}"] = f"{component}/{name}"
    # The last layer, which Stable Diffusion 2 was not trained with: as the one before it.
    for _ in range(more):
        count = 1 + max(int(re.search(r"resblocks\.(\d+)", name)[1]) for name in names if "resblocks" in name)
        names |= {name.replace(f"resblocks.{count - 1}.", f"resblocks.{count}."): place
                  for name, place in names.items() if f"resblocks.{count - 1}." in name}
    return names


def built(names, tensors):
    def of(place):
        if isinstance(place, str):
            return tensors[place]
        if "turned" in place:
            return tensors[place["turned"]].T
        return torch.cat([tensors[each] for each in place["joined"]])

    return {name: of(place).contiguous().clone() for name, place in names.items()}


def same(theirs, tensors, component):
    """diffusers' conversion against the pipeline; transformers 5 leaves "text_model." out of what it writes."""
    found = {name.removeprefix("text_model."): value for name, value in theirs.items()}
    checked = 0
    for name, value in tensors.items():
        own = name.removeprefix(f"{component}/")
        if own == name or own.endswith("position_ids"):
            continue
        other = found[own.removeprefix("text_model.")]
        assert torch.equal(other.reshape(value.shape), value), name
        checked += 1
    return checked


table = {}
for family, folder in FOLDERS.items():
    config = {each: json.loads((folder / each / "config.json").read_text()) for each in ("unet", "vae")}
    tensors = {f"{each.parent.name}/{name}": value for each in folder.glob("*/*.safetensors") for name, value in load_file(each).items()}
    of = lambda component: [name.split("/", 1)[1] for name in tensors if name.startswith(f"{component}/") and "position_ids" not in name]
    names = unet_names(of("unet"), config["unet"]) | vae_names(of("vae"), config["vae"])
    if family == "sd1":
        names |= clip_names(of("text_encoder"), "cond_stage_model.transformer.", "text_encoder")
    elif family == "sd2":
        names |= open_clip_names(of("text_encoder"), "cond_stage_model.model.", "text_encoder", 1)
    else:
        names |= clip_names(of("text_encoder"), "conditioner.embedders.0.transformer.", "text_encoder")
        names |= open_clip_names(of("text_encoder_2"), "conditioner.embedders.1.model.", "text_encoder_2", 0)
    table[family] = names
    file = built(names, tensors)
    checked = same(reference.convert_ldm_unet_checkpoint(file, config["unet"]), tensors, "unet")
    checked += same(reference.convert_ldm_vae_checkpoint(file, config["vae"]), tensors, "vae")
    if family != "sd2":
        checked += same(reference.convert_ldm_clip_checkpoint(file), tensors, "text_encoder")
    if family != "sd1":
        component, prefix = ("text_encoder", "cond_stage_model.model.") if family == "sd2" else ("text_encoder_2", "conditioner.embedders.1.model.")
        text = CLIPTextModel.from_pretrained(folder / component)
        checked += same(reference.convert_open_clip_checkpoint(text, file, prefix=prefix), tensors, component)
    whole = ""
    if family != "sd2":  # a case without a tokenizer, which diffusers wants
        with tempfile.TemporaryDirectory() as scratch:
            save_file(file, f"{scratch}/model.safetensors")
            kind = diffusers.StableDiffusionPipeline if family == "sd1" else diffusers.StableDiffusionXLPipeline
            pipe = kind.from_single_file(f"{scratch}/model.safetensors", config=str(folder), torch_dtype=torch.float16)
            for component in ("unet", "vae", "text_encoder"):  # the second encoder is told apart by its width, here the same
                same(getattr(pipe, component).state_dict(), tensors, component)
            whole = "; from_single_file gives the same pipeline"
    print(f"{family}: {len(file)} tensors in the file, {checked} of the pipeline bit for bit{whole}")
(HERE / "single-files.json.gz").write_bytes(gzip.compress(json.dumps(table).encode(), mtime=0))
