"""The dense transformer written out in NumPy float64, from its published description."""

import math

import numpy as np


def forward(config, weights, image):
    """Cube coordinates (3, H, W) of a picture (3, H, W) in [0, 1].

    ``config`` is a ``DenseMarksConfig``; ``weights`` maps the checkpoint's names to arrays.
    """
    w = {name: np.asarray(value, np.float64) for name, value in weights.items()}
    mean, std = (w[f"embedder.pixel_{name}"].reshape(3, 1, 1) for name in ("mean", "std"))
    taps = backbone(config.vit, scope(w, "embedder.backbone"), (image - mean) / std)
    features = neck(scope(w, "embedder.dpt_neck"), taps)
    head = scope(w, "predictor.embed_lowres")
    logits = transposed_convolution(features, head, stride=2, padding=1)
    resized = resize(logits, image.shape[1:], align_corners=False)
    return 0.5 * np.tanh(3 * resized) + 0.5


def scope(weights, prefix):
    return {k[len(prefix) + 1 :]: v for k, v in weights.items() if k.startswith(prefix + ".")}


def backbone(config, w, image):
    """One (class token (C,), patch tokens (h, w, C)) per tap."""
    size = config.patch_size
    rows, columns = image.shape[1] // size, image.shape[2] // size
    tokens = [w["cls_token"][0, 0], *w["storage_tokens"][0]]
    places = [None] * len(tokens)
    for row in range(rows):
        for column in range(columns):
            patch = image[:, row * size : (row + 1) * size, column * size : (column + 1) * size]
            kernel, bias = w["patch_embed.proj.weight"], w["patch_embed.proj.bias"]
            tokens.append(np.array([(k * patch).sum() for k in kernel]) + bias)
            places.append((2 * (row + 0.5) / rows - 1, 2 * (column + 0.5) / columns - 1))
    tokens, taps = np.stack(tokens), []
    for index in range(config.depth):
        tokens = block(config, scope(w, f"blocks.{index}"), tokens, places)
        if index in config.taps:
            normed = layer_norm(tokens, scope(w, "norm"), config.norm_eps)
            taps.append((normed[0], normed[-rows * columns :].reshape(rows, columns, -1)))
    return taps


def block(config, w, tokens, places):
    eps = config.norm_eps
    mixed = attention(config, scope(w, "attn"), layer_norm(tokens, scope(w, "norm1"), eps), places)
    tokens = tokens + w["ls1.gamma"] * mixed
    hidden = linear(layer_norm(tokens, scope(w, "norm2"), eps), scope(w, "mlp.fc1"))
    return tokens + w["ls2.gamma"] * linear(gelu(hidden), scope(w, "mlp.fc2"))


def attention(config, w, tokens, places):
    qkv = tokens @ w["qkv.weight"].T + w["qkv.bias"] * w["qkv.bias_mask"]
    query, key, value = np.split(qkv, 3, axis=1)
    width = config.width // config.n_heads
    out = []
    for head in range(config.n_heads):
        part = np.s_[head * width : (head + 1) * width]
        q = np.stack([rotate(config, t[part], p) for t, p in zip(query, places, strict=True)])
        k = np.stack([rotate(config, t[part], p) for t, p in zip(key, places, strict=True)])
        scores = np.exp(q @ k.T / math.sqrt(width))
        out.append(scores / scores.sum(axis=1, keepdims=True) @ value[:, part])
    return linear(np.concatenate(out, axis=1), scope(w, "proj"))


def rotate(config, token, place):
    """Elements j and j + half as one complex number, turned by an angle per j."""
    if place is None:
        return token
    half, n_periods = len(token) // 2, len(token) // 4
    periods = [config.rope_base ** (i / n_periods) for i in range(n_periods)]
    angles = np.array([2 * math.pi * x / period for x in place for period in periods])
    turned = (token[:half] + 1j * token[half:]) * np.exp(1j * angles)
    return np.concatenate([turned.real, turned.imag])


def neck(w, taps):
    """Feature map (C, 8 h, 8 w) of four taps."""
    levels = []
    for index, (cls, patches) in enumerate(taps):
        rows, columns, _ = patches.shape
        readout = scope(w, f"reassemble_stage.readout_projects.{index}.0")
        mixed = [[gelu(linear(np.append(patches[r, c], cls), readout)) for c in range(columns)]
                 for r in range(rows)]  # fmt: skip
        layer = scope(w, f"reassemble_stage.layers.{index}")
        level = convolution(np.array(mixed).transpose(2, 0, 1), scope(layer, "projection"))
        resampler = scope(layer, "resize")
        if index < 2:
            level = transposed_convolution(level, resampler, stride=(4, 2)[index])
        elif index == 3:
            level = convolution(level, resampler, stride=2, padding=1)
        levels.append(convolution(level, scope(w, f"convs.{index}"), padding=1))
    fused = None
    for index, level in enumerate(reversed(levels)):
        layer = scope(w, f"fusion_stage.layers.{index}")
        if fused is None:
            fused = level
        else:
            finer = resize(level, fused.shape[1:], align_corners=False)
            fused = fused + residual(finer, scope(layer, "residual_layer1"))
        fused = residual(fused, scope(layer, "residual_layer2"))
        fused = resize(fused, [2 * n for n in fused.shape[1:]], align_corners=True)
        fused = convolution(fused, scope(layer, "projection"))
    return fused


def residual(x, w):
    hidden = convolution(np.maximum(x, 0), scope(w, "convolution1"), padding=1)
    return x + convolution(np.maximum(hidden, 0), scope(w, "convolution2"), padding=1)


def layer_norm(x, w, eps):
    centred = x - x.mean(axis=-1, keepdims=True)
    return (
        centred / np.sqrt((centred**2).mean(axis=-1, keepdims=True) + eps) * w["weight"] + w["bias"]
    )


def linear(x, w):
    return x @ w["weight"].T + w["bias"]


def gelu(x):
    return np.vectorize(lambda v: 0.5 * v * (1 + math.erf(v / math.sqrt(2))))(x)


def convolution(x, w, stride=1, padding=0):
    kernel = w["weight"]
    x = np.pad(x, ((0, 0), (padding, padding), (padding, padding)))
    side = kernel.shape[2]
    rows, columns = ((n - side) // stride + 1 for n in x.shape[1:])
    out = np.empty((len(kernel), rows, columns))
    for r in range(rows):
        for c in range(columns):
            window = x[:, r * stride : r * stride + side, c * stride : c * stride + side]
            out[:, r, c] = np.tensordot(kernel, window, 3)
    return out + w["bias"][:, None, None] if "bias" in w else out


def transposed_convolution(x, w, stride, padding=0):
    kernel = w["weight"]
    side = kernel.shape[2]
    out = np.zeros((kernel.shape[1], *((n - 1) * stride + side for n in x.shape[1:])))
    for r in range(x.shape[1]):
        for c in range(x.shape[2]):
            spread = np.tensordot(x[:, r, c], kernel, 1)
            out[:, r * stride : r * stride + side, c * stride : c * stride + side] += spread
    cut = np.s_[padding:-padding] if padding else np.s_[:]
    return out[:, cut, cut] + w["bias"][:, None, None]


def resize(x, shape, align_corners):
    for axis, n in enumerate(shape, start=1):
        length = x.shape[axis]
        if align_corners:
            at = np.arange(n) * (length - 1) / max(n - 1, 1)
        else:
            at = np.maximum((np.arange(n) + 0.5) * length / n - 0.5, 0)
        low = np.minimum(np.floor(at).astype(int), length - 1)
        high = np.minimum(low + 1, length - 1)
        share = (at - low).reshape([-1 if a == axis else 1 for a in range(x.ndim)])
        x = np.take(x, low, axis) * (1 - share) + np.take(x, high, axis) * share
    return x
