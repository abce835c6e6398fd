"""Colour of every material at a point, computed from its texture coordinates [m]; compiled by Numba.

Patterns fade to their mean where a pixel covers more than they repeat in, so that distance does not make them flicker.
"""

from __future__ import annotations

import numpy as np

from perception.simulation.compiled import compiled
from perception.simulation.layout import AMBER_SHARE, CYCLE_S, GREEN_SHARE
from perception.simulation.looks import Kind

ASPHALT, PAVING, GRASS, FACADE, LEAF, BARK = (
    int(kind) for kind in (Kind.ASPHALT, Kind.PAVING, Kind.GRASS, Kind.FACADE, Kind.LEAF, Kind.BARK)
)
PAINT, GLASS, HEADLIGHT, TAILLIGHT, MARKING, POSTER = (
    int(kind) for kind in (Kind.PAINT, Kind.GLASS, Kind.HEADLIGHT, Kind.TAILLIGHT, Kind.MARKING, Kind.POSTER)
)
STRIPES, CLOTH, RIBS, LAMP, SIGNAL, METAL, RETRO = (
    int(kind) for kind in (Kind.STRIPES, Kind.CLOTH, Kind.RIBS, Kind.LAMP, Kind.SIGNAL, Kind.METAL, Kind.RETRO)
)
AMBER_END, GREEN_END, CYCLE = AMBER_SHARE, GREEN_SHARE, CYCLE_S


@compiled
def hashed(ix: int, iy: int, seed: int) -> float:
    """A number in [0, 1) for a cell."""
    h = (ix * 374761393 + iy * 668265263 + seed * 974634777) & 0xFFFFFFFF
    h = ((h ^ (h >> 13)) * 1274126177) & 0xFFFFFFFF
    return ((h ^ (h >> 16)) & 0xFFFFFF) / 16777216.0


@compiled
def noise(x: float, y: float, seed: int) -> float:
    """Smooth value noise in [0, 1), one bump a unit."""
    ix, iy = int(np.floor(x)), int(np.floor(y))
    fx, fy = x - ix, y - iy
    fx, fy = fx * fx * (3 - 2 * fx), fy * fy * (3 - 2 * fy)
    low = hashed(ix, iy, seed) * (1 - fx) + hashed(ix + 1, iy, seed) * fx
    high = hashed(ix, iy + 1, seed) * (1 - fx) + hashed(ix + 1, iy + 1, seed) * fx
    return low * (1 - fy) + high * fy


@compiled
def cloudy(x: float, y: float, seed: int, octaves: int) -> float:
    """Noise at several scales, 0 to about 1."""
    total, amplitude = 0.0, 0.5
    for octave in range(octaves):
        total += amplitude * noise(x, y, seed + octave)
        x, y, amplitude = 2.03 * x + 17.1, 2.03 * y - 9.7, amplitude * 0.5
    return total


@compiled
def shown(period: float, footprint: float) -> float:
    """How much of a pattern of this period survives a pixel of this size: 1 near, 0 far."""
    return min(max(1.6 - 2.0 * footprint / period, 0.0), 1.0)


@compiled
def facade(r, g, b, style, u, v, footprint, dark):
    """A wall with windows -> red, green, blue, gloss, light of its own."""
    seed = int(style * 65521)
    bay, floor = 2.0 + 2.4 * hashed(1, 0, seed), 3.0 + 0.8 * hashed(2, 0, seed)
    shop = hashed(3, 0, seed) < 0.65
    curtain_wall = hashed(4, 0, seed) < 0.16
    iu, iv = int(np.floor(u / bay)), int(np.floor(v / floor))
    fu, fv = u / bay - iu, v / floor - iv
    half_w, half_h, middle = 0.22 + 0.18 * hashed(5, 0, seed), 0.24 + 0.14 * hashed(6, 0, seed), 0.52
    if curtain_wall:
        half_w, half_h = 0.46, 0.42
    if iv == 0 and shop:
        half_w, half_h, middle = 0.43, 0.40, 0.45
    if iv > 0 and not curtain_wall and hashed(iu, 7, seed) < 0.12:
        half_w = 0.0
    du, dv = abs(fu - 0.5) - half_w, abs(fv - middle) - half_h
    if du < 0 and dv < 0 and half_w > 0:
        frame = 0.06 / bay
        if du > -frame or dv > -frame * bay / floor or (iv > 0 and abs(fu - 0.5) < 0.4 * frame):
            tone = 0.75 if hashed(8, 0, seed) < 0.6 else 0.12
            return tone, tone, tone * 0.97, 0.0, 0.0
        here = hashed(iu, iv, seed + 3)
        lamps = dark if dark > 0.5 else 0.0
        lit = 1.1 * lamps if here < 0.38 else 0.0
        if iv == 0 and shop:
            shelf = 0.35 + 0.65 * noise(u * 4.1, np.floor(v * 2.4) * 7.3, seed)
            goods = 0.02 + 0.2 * shelf * noise(u * 1.1, v * 0.7, seed + 1)
            ix, iy = int(np.floor(u * 2.7)), int(np.floor(v * 2.4))
            warm = 1.0 - 0.2 * dark
            red, green, blue = hashed(ix, iy, seed + 1), hashed(ix, iy, seed + 2), hashed(ix, iy, seed + 5)
            red, green, blue = 0.75 + 0.5 * red, 0.75 + 0.5 * green, 0.75 + 0.5 * blue
            return 0.02 + goods * red, 0.02 + goods * green * warm, 0.025 + goods * blue * warm * warm, 0.7, 1.2 * lamps
        blind = 0.3 if hashed(iu, iv, seed + 4) < 0.3 and fv > 0.45 + 0.3 * here else 0.0
        if lit > 0:
            return 0.30 + blind, 0.24 + 0.8 * blind, 0.13 + 0.5 * blind, 0.2, lit
        tone = 0.7 + 0.6 * hashed(iu, iv, seed + 6)
        return 0.035 * tone + blind, 0.042 * tone + blind * 0.96, 0.05 * tone + blind * 0.9, 0.8 * (1 - blind), 0.0
    pattern = hashed(11, 0, seed)
    if pattern < 0.45:  # bricks
        row = int(np.floor(v / 0.075))
        brick = u / 0.24 + 0.5 * (row % 2)
        joint = (brick - np.floor(brick) < 0.06) or (v / 0.075 - row < 0.14)
        fade = shown(0.1, footprint)
        tone = 1 + fade * (0.35 * hashed(int(np.floor(brick)), row, seed) - 0.2 + (0.25 if joint else 0.0))
    elif pattern < 0.7:  # panels
        joint = (u / 1.5 - np.floor(u / 1.5) < 0.02) or (v / floor - iv < 0.015)
        tone = (
            1
            + 0.12 * (hashed(int(np.floor(u / 1.5)), iv, seed) - 0.5)
            - (0.4 * shown(0.06, footprint) if joint else 0.0)
        )
    else:  # plaster
        tone = 0.9 + 0.2 * cloudy(u * 1.3, v * 1.3, seed, 3)
    tone *= 0.88 + 0.2 * noise(u * 0.23, v * 0.4, seed + 9)
    if dv < 0.03 and dv >= 0 and fv < middle and half_w > 0 and du < 0.02:
        tone *= 1.35  # sills
    if iv == 0 and shop and fv > 0.88:
        tone = 0.08 + 0.3 * hashed(15, iu // 3, seed)
        red, green, blue = hashed(12, iu // 3, seed), hashed(13, iu // 3, seed), hashed(14, iu // 3, seed)
        return tone * (0.4 + red), tone * (0.4 + green), tone * (0.4 + blue), 0.1, 0.0
    return r * tone, g * tone, b * tone, 0.0, 0.0


@compiled
def ground(kind, r, g, b, style, u, v, footprint, wet):
    """Asphalt, slabs, grass or road paint -> red, green, blue, gloss."""
    seed = int(style * 65521)
    if kind == GRASS:
        fine = shown(0.1, footprint)
        tone = (
            0.55
            + 0.7 * cloudy(u * 0.6, v * 0.6, seed, 4)
            + (0.35 * fine * (noise(u * 18, v * 18, seed) - 0.5) if fine > 0 else 0.0)
        )
        return r * tone * (0.9 + 0.3 * noise(u * 0.1, v * 0.1, seed)), g * tone, b * tone * 0.9, 0.0
    if kind == PAVING:
        size = 0.5 + 0.5 * hashed(1, 1, seed)
        iu, iv = int(np.floor(u / size)), int(np.floor(v / size))
        joint = (u / size - iu < 0.03) or (v / size - iv < 0.03)
        tone = (
            0.92
            + 0.2 * (hashed(iu, iv, seed) - 0.5) * shown(size, footprint)
            - (0.3 * shown(0.09, footprint) if joint else 0.0)
        )
        tone *= 0.8 + 0.35 * cloudy(u * 0.4, v * 0.4, seed, 3)
        dirt = 1 - 0.35 * wet
        return r * tone * dirt, g * tone * dirt, b * tone * dirt, 0.35 * wet
    if kind == MARKING:
        worn = noise(u * 3.1, v * 3.1, seed) * 0.6 + noise(u * 13, v * 13, seed) * 0.4
        keep = 0.95 if worn < 0.62 else 0.45
        keep = keep * shown(0.15, footprint) + 0.85 * (1 - shown(0.15, footprint))
        return keep * r + (1 - keep) * 0.08, keep * g + (1 - keep) * 0.08, keep * b + (1 - keep) * 0.08, 0.4 * wet
    grain = 0.25 * shown(0.06, footprint) * (hashed(int(np.floor(u * 60)), int(np.floor(v * 60)), seed) - 0.5)
    broad = cloudy(u * 0.13, v * 0.13, seed, 4)
    patch = hashed(int(np.floor(u / 7)), int(np.floor(v / 5)), seed + 5)
    tone = 0.75 + 0.5 * broad + grain
    if patch < 0.10:
        tone *= 0.7
    fine = shown(0.12, footprint)
    if fine > 0 and noise(u * 0.15, v * 0.15, seed + 8) > 0.55:
        crack = abs(cloudy(u * 0.5, v * 0.5, seed + 7, 5) - 0.47)
        if crack < 0.0022:
            tone *= 1 - 0.4 * fine
    puddle = 0.0
    if wet > 0:
        puddle = wet * min(max((cloudy(u * 0.21, v * 0.21, seed + 21, 3) - 0.42) * 8, 0.0), 1.0)
    tone *= 1 - 0.45 * wet
    return r * tone, g * tone, b * tone, 0.25 * wet + 0.7 * puddle


@compiled
def poster(r, g, b, style, u, v):
    """Print: fields of colour with lines of something like writing."""
    seed = int(style * 65521)
    iu, iv = int(np.floor(u / 0.9)), int(np.floor(v / 0.55))
    field = hashed(iu, iv, seed)
    if field < 0.35:
        tone = 0.05 + 0.4 * hashed(iu, iv, seed + 4)
        r = 0.5 * r + tone * hashed(iu, iv, seed + 1)
        g = 0.5 * g + tone * hashed(iu, iv, seed + 2)
        b = 0.5 * b + tone * hashed(iu, iv, seed + 3)
    fu, fv = u / 0.9 - iu, v / 0.55 - iv
    line = fv * 4 - np.floor(fv * 4)
    if (
        field > 0.6
        and line < 0.45
        and 0.1 < fu < 0.9
        and hashed(int(np.floor(u * 9)), int(np.floor(v * 7.3)), seed) < 0.7
    ):
        ink = 0.75 if r + g + b < 0.9 else 0.06
        return ink, ink, ink
    return r, g, b


@compiled
def signal_lit(red, green, style, time):
    """Whether a traffic light's lamp is on: its colour says for which share of the cycle it is."""
    share = GREEN_END if green > 0.8 else (AMBER_END if green > 0.3 else 1 - GREEN_END - AMBER_END)
    phase = time / CYCLE - style
    return phase - np.floor(phase) < share


@compiled
def surface(kind, r, g, b, style, u, v, footprint, time, dark, wet):
    """A material at a point -> red, green, blue (albedo), gloss 0-1, and light of its own in its colour."""
    if kind == FACADE:
        return facade(r, g, b, style, u, v, footprint, dark)
    if kind in (ASPHALT, PAVING, GRASS, MARKING):
        r, g, b, gloss = ground(kind, r, g, b, style, u, v, footprint, wet)
        return r, g, b, gloss, 0.0
    if kind == PAINT:
        dirt = 1.0 - 0.15 * noise(u * 1.1, v * 2.0, 5)
        return r * dirt, g * dirt, b * dirt, 0.55, 0.0
    if kind == GLASS:
        return r, g, b, 0.9, 0.0
    if kind == METAL:
        return r, g, b, 0.3, 0.0
    if kind == HEADLIGHT:
        return r, g, b, 0.3, 7.0 * dark if style > 0 else 0.0
    if kind == TAILLIGHT:
        return r, g, b, 0.3, (0.7 * dark if style > 0 else 0.0) + (2.2 if style > 0.5 else 0.0)
    if kind == SIGNAL:
        if signal_lit(r, g, style, time):
            return r, g, b, 0.0, 1.8
        return 0.05 * r, 0.05 * g, 0.05 * b, 0.2, 0.0
    if kind == LAMP:
        return r, g, b, 0.1, 0.6 + 3.0 * dark
    if kind == POSTER:
        r, g, b = poster(r, g, b, style, u, v)
        return r, g, b, 0.05, 0.0
    if kind == STRIPES:
        band = (u + v) / 0.36
        white = band - np.floor(band) < 0.5
        return (0.78, 0.78, 0.76, 0.05, 0.0) if white else (r, g, b, 0.05, 0.0)
    if kind == RIBS:
        wave = 1 + 0.35 * shown(0.22, footprint) * np.sin(u * 28.0)
        rust = 1 - 0.3 * max(noise(u * 0.9, v * 0.9, 3) - 0.6, 0.0)
        return r * wave, g * wave * rust, b * wave * rust, 0.1, 0.0
    if kind == CLOTH:
        fold = 0.88 + 0.24 * noise(u * 9, v * 5, int(style * 65521))
        return r * fold, g * fold, b * fold, 0.0, 0.0
    if kind == BARK:
        streak = 0.75 + 0.5 * noise(u * 14, v * 2.5, 11)
        return r * streak, g * streak, b * streak, 0.0, 0.0
    return r, g, b, 0.2 * wet, 0.0
