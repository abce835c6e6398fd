"""Light: what colour each hit sends towards the camera; compiled by Numba."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from perception.simulation.compiled import compiled
from perception.simulation.conditions import Conditions
from perception.simulation.textures import LEAF, RETRO, cloudy, noise, surface

GROUND_TONE = 0.12
SKIN_M, SKIN_SHARE = np.float32(0.004), np.float32(0.0002)  # off a surface, where the next ray starts


class Light(NamedTuple):
    """Conditions, as the compiled code wants them."""

    sun_direction: np.ndarray  # (3,)
    sun: np.ndarray  # (3,)
    sky: np.ndarray  # (3,)
    horizon: np.ndarray  # (3,)
    weather: np.ndarray  # (5,) clouds, haze, wet, dark, time
    lamps: np.ndarray  # (L, 3) places of street lamps
    beams: np.ndarray  # (B, 6) headlights: place, direction


class Buffer(NamedTuple):
    """What N rays see: the nearest surface, its texture coordinates, and its normal."""

    distances: np.ndarray  # (N,) inf for the sky
    kinds: np.ndarray
    colours: np.ndarray
    styles: np.ndarray
    uvs: np.ndarray  # (N, 2)
    normals: np.ndarray  # (N, 3)
    owners: np.ndarray  # (N,) int32


def light_of(conditions: Conditions, time: float, lamps: np.ndarray, beams: np.ndarray) -> Light:
    """The light of a scene; lamps and beams count in the dark only."""
    weather = np.array([conditions.clouds, conditions.haze, conditions.wet, conditions.dark, time])
    colours = (np.array(colour, np.float64) for colour in (conditions.sun, conditions.sky, conditions.horizon))
    return Light(conditions.sun_direction, *colours, weather, lamps.reshape(-1, 3), beams.reshape(-1, 6))


def empty_buffer(count: int) -> Buffer:
    """Nothing but sky."""
    zeros = np.zeros((count, 3), np.float32)
    distances = np.full(count, np.inf, np.float32)
    single = np.zeros(count, np.float32)
    return Buffer(
        distances,
        np.zeros(count, np.uint8),
        zeros,
        single,
        zeros[:, :2].copy(),
        zeros.copy(),
        np.zeros(count, np.int32),
    )


@compiled
def take_nearer(buffer, rows, distances, triangles, barycentric, surfaces):
    """Enter hits of rays `rows` into the buffer, where they are nearer than what it holds."""
    kinds, colours, styles, uvs, normals, owners = surfaces
    for k in range(len(rows)):
        i = rows[k]
        if distances[k] < buffer.distances[i]:
            t = triangles[k]
            b, c = barycentric[k, 0], barycentric[k, 1]
            a = 1 - b - c
            buffer.distances[i], buffer.kinds[i], buffer.styles[i], buffer.owners[i] = (
                distances[k],
                kinds[t],
                styles[t],
                owners[t],
            )
            for j in range(3):
                buffer.colours[i, j] = colours[t, j]
                buffer.normals[i, j] = a * normals[t, 0, j] + b * normals[t, 1, j] + c * normals[t, 2, j]
            for j in range(2):
                buffer.uvs[i, j] = a * uvs[t, 0, j] + b * uvs[t, 1, j] + c * uvs[t, 2, j]


@compiled
def facing_normals(buffer, directions):
    """Make normals unit, and turn them towards the camera."""
    for i in range(len(directions)):
        nx, ny, nz = buffer.normals[i, 0], buffer.normals[i, 1], buffer.normals[i, 2]
        scale = 1.0 / max(np.sqrt(nx * nx + ny * ny + nz * nz), 1e-9)
        if nx * directions[i, 0] + ny * directions[i, 1] + nz * directions[i, 2] > 0:
            scale = -scale
        buffer.normals[i, 0], buffer.normals[i, 1], buffer.normals[i, 2] = nx * scale, ny * scale, nz * scale


@compiled
def facing(way, buffer):
    """Rows of rays that met a surface which faces `way` (3,); light passes through leaves."""
    rows = np.empty(len(buffer.distances), np.int64)
    count = 0
    for i in range(len(rows)):
        shine = buffer.normals[i, 0] * way[0] + buffer.normals[i, 1] * way[1] + buffer.normals[i, 2] * way[2]
        if (shine > 0 or buffer.kinds[i] == LEAF) and np.isfinite(buffer.distances[i]):
            rows[count] = i
            count += 1
    return rows[:count]


@compiled
def leaving_rays(origin, directions, buffer, rows, lean, ways, which):
    """Rays (K, 6) from just above what rays `rows` (K,) met: along `lean` times the normal, plus ways[which]."""
    lean = np.float32(lean)
    rays = np.empty((len(rows), 6), np.float32)
    for k in range(len(rows)):
        i = rows[k]
        distance = buffer.distances[i]
        skin = SKIN_M + SKIN_SHARE * distance
        for j in range(3):
            rays[k, j] = origin[j] + directions[i, j] * distance + buffer.normals[i, j] * skin
            rays[k, 3 + j] = lean * buffer.normals[i, j] + ways[which[k], j]
    return rays


@compiled
def heaven(dx, dy, dz, light):
    """The sky in a direction."""
    clouds = light.weather[0]
    lift = max(dz, 0.0) ** 0.55
    r = light.horizon[0] * (1 - lift) + 0.55 * light.sky[0] * lift
    g = light.horizon[1] * (1 - lift) + 0.75 * light.sky[1] * lift
    b = light.horizon[2] * (1 - lift) + 1.05 * light.sky[2] * lift
    if dz > 0.02:
        cover = cloudy(1.1 * dx / (dz + 0.25), 1.1 * dy / (dz + 0.25), 3, 5)
        amount = min(max((cover - 0.62 + 0.34 * clouds) * 4.0, 0.0), 1.0) * min(dz * 6, 1.0)
        tone = (0.8 + 0.5 * (cover - 0.4)) * (light.sky[0] + light.sky[1]) * 0.62 + 0.25 * light.sun[0] * (1 - clouds)
        r, g, b = r + amount * (tone - r), g + amount * (tone - g), b + amount * (tone * 1.02 - b)
    toward = dx * light.sun_direction[0] + dy * light.sun_direction[1] + dz * light.sun_direction[2]
    if toward > 0 and light.sun[0] > 0:
        glow = toward**24 * 0.25 + toward**900 * 14.0
        r, g, b = r + glow * light.sun[0], g + glow * light.sun[1], b + glow * light.sun[2]
    return r, g, b


@compiled
def surroundings(dx, dy, dz, light):
    """What shiny surfaces mirror: the sky, a street front below it, and the road."""
    angle = np.arctan2(dy, dx) * 3.0
    roofs = 0.16 + 0.30 * noise(angle, 0.5, 31)
    level = (light.sky[0] + light.sky[1] + light.sky[2]) / 3 + 0.15 * light.sun[0]
    hidden = (roofs - dz) * 14 >= 1.0  # behind the street front: then the sky needn't be known
    r, g, b = (0.0, 0.0, 0.0) if hidden else heaven(dx, dy, max(dz, 0.02), light)
    if dz < roofs:
        mix = min((roofs - dz) * 14, 1.0)
        wall = level * (0.12 + 0.2 * noise(angle * 4, dz * 9, 33))
        r, g, b = r + mix * (wall - r), g + mix * (wall * 0.96 - g), b + mix * (wall * 0.9 - b)
    if dz < 0:
        mix = min(-dz * 12, 1.0)
        road = level * GROUND_TONE
        r, g, b = r + mix * (road - r), g + mix * (road - g), b + mix * (road - b)
    return r, g, b


@compiled
def lamplight(px, py, pz, nx, ny, nz, light):
    """Light of street lamps and headlights on a surface -> warm, white."""
    warm, white = 0.0, 0.0
    for k in range(len(light.lamps)):
        lx, ly, lz = light.lamps[k, 0] - px, light.lamps[k, 1] - py, light.lamps[k, 2] - pz
        square = lx * lx + ly * ly + lz * lz + 0.5
        if lz > 0 and square < 900:
            away = np.sqrt(square)
            cosine = max((lx * nx + ly * ny + lz * nz) / away, 0.0)
            warm += 9.0 * (0.15 + 0.85 * cosine) * (lz / away) / square
    for k in range(len(light.beams)):
        lx, ly, lz = px - light.beams[k, 0], py - light.beams[k, 1], pz - light.beams[k, 2]
        square = lx * lx + ly * ly + lz * lz + 1.0
        if square < 2500:
            away = np.sqrt(square)
            ahead = (lx * light.beams[k, 3] + ly * light.beams[k, 4] + lz * light.beams[k, 5]) / away
            if ahead > 0.8:
                cosine = max(-(lx * nx + ly * ny + lz * nz) / away, 0.0)
                white += 26.0 * ((ahead - 0.8) / 0.2) ** 3 * (0.1 + 0.9 * cosine) / square
    return warm, white


@compiled
def shade(origin, directions, buffer, sunlit, openness, pixel_angle, light, out):
    """The light (N, 3) that comes along each ray, linear; `sunlit` (N,) 0-1, `openness` (N,) 0-1 to the sky."""
    haze, wet, dark, time = light.weather[1], light.weather[2], light.weather[3], light.weather[4]
    sx, sy, sz = light.sun_direction
    for i in range(len(directions)):
        dx, dy, dz = directions[i, 0], directions[i, 1], directions[i, 2]
        distance = buffer.distances[i]
        if not np.isfinite(distance):
            r, g, b = heaven(dx, dy, dz, light)
            veil = (1 - np.exp(-haze * 220)) * max(1 - 3.5 * max(dz, 0.0), 0.0)
            out[i, 0] = r + veil * (light.horizon[0] - r)
            out[i, 1] = g + veil * (light.horizon[1] - g)
            out[i, 2] = b + veil * (light.horizon[2] - b)
            continue
        nx, ny, nz = buffer.normals[i, 0], buffer.normals[i, 1], buffer.normals[i, 2]
        facing = -(dx * nx + dy * ny + dz * nz)
        footprint = distance * pixel_angle / max(facing, 0.08)
        ar, ag, ab, gloss, own = surface(
            buffer.kinds[i], buffer.colours[i, 0], buffer.colours[i, 1], buffer.colours[i, 2], buffer.styles[i],
            buffer.uvs[i, 0], buffer.uvs[i, 1], footprint, time, dark, wet,
        )  # fmt: skip
        px, py, pz = origin[0] + distance * dx, origin[1] + distance * dy, origin[2] + distance * dz
        up = 0.5 + 0.5 * nz
        shine = nx * sx + ny * sy + nz * sz
        if buffer.kinds[i] == LEAF:
            shine = 0.35 + 0.65 * abs(shine)
        direct = max(shine, 0.0) * sunlit[i]
        spread = openness[i] * (0.35 + 0.65 * up)
        bounce = openness[i] * (1 - up) * GROUND_TONE * 2.2 * (light.sky[1] + light.sun[1] * 0.5)
        warm, white = lamplight(px, py, pz, nx, ny, nz, light) if dark > 0.5 else (0.0, 0.0)
        if buffer.kinds[i] == RETRO:
            white *= 4.0
        lr = light.sky[0] * spread + bounce + light.sun[0] * direct + 1.1 * warm + white + own
        lg = light.sky[1] * spread + bounce + light.sun[1] * direct + 0.78 * warm + white + own
        lb = light.sky[2] * spread + bounce + light.sun[2] * direct + 0.42 * warm + 0.95 * white + own
        r, g, b = ar * lr, ag * lg, ab * lb
        if gloss > 0.01:
            fresnel = gloss * (0.045 + 0.16 * gloss * gloss + 0.75 * (1 - max(facing, 0.0)) ** 5)
            mx, my, mz = dx + 2 * facing * nx, dy + 2 * facing * ny, dz + 2 * facing * nz
            er, eg, eb = surroundings(mx, my, mz, light)
            glint = max(mx * sx + my * sy + mz * sz, 0.0) ** 180 * 10 * sunlit[i]
            fresnel *= 0.3 + 0.7 * openness[i]
            r += fresnel * (er + glint * light.sun[0])
            g += fresnel * (eg + glint * light.sun[1])
            b += fresnel * (eb + glint * light.sun[2])
        clear = np.exp(-haze * distance)
        out[i, 0] = r * clear + light.horizon[0] * (1 - clear)
        out[i, 1] = g * clear + light.horizon[1] * (1 - clear)
        out[i, 2] = b * clear + light.horizon[2] * (1 - clear)


@compiled
def smoothed_openness(openness, distances, normals, reach, until):
    """Mean over neighbours on the same surface: (H, W) openness, distances, (H, W, 3) normals; 1 beyond `until` [m]."""
    height, width = openness.shape
    result = np.empty_like(openness)
    for y in range(height):
        for x in range(width):
            total, weight, distance = 0.0, 0.0, distances[y, x]
            if distance > 1.1 * until:  # all neighbours that would count are open
                result[y, x] = 1.0
                continue
            for yy in range(max(y - reach, 0), min(y + reach + 1, height)):
                for xx in range(max(x - reach, 0), min(x + reach + 1, width)):
                    alike = (
                        normals[y, x, 0] * normals[yy, xx, 0]
                        + normals[y, x, 1] * normals[yy, xx, 1]
                        + normals[y, x, 2] * normals[yy, xx, 2]
                    )
                    if abs(distances[yy, xx] - distance) < 0.06 * distance and alike > 0.8:
                        total += openness[yy, xx]
                        weight += 1.0
            result[y, x] = total / weight if weight > 0 else 1.0
    return result


@compiled
def edges(linear, middle, least):
    """Pixels of an image (H, W, 3) that differ from a neighbour by more than `least`, as shown -> (H, W) bool."""
    height, width, _ = linear.shape
    shown = linear / (linear + middle + np.float32(1e-6))
    found = np.zeros((height, width), np.bool_)
    for y in range(height):
        for x in range(width):
            for c in range(3):
                if x + 1 < width and abs(shown[y, x + 1, c] - shown[y, x, c]) > least:
                    found[y, x] = found[y, x + 1] = True
                if y + 1 < height and abs(shown[y + 1, x, c] - shown[y, x, c]) > least:
                    found[y, x] = found[y + 1, x] = True
    return found
