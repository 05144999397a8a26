"""A head from ellipsoids: shares of its tissues at points in space.

Skin, fat, bone and fluid are shells of an ellipsoid; the cortex is folded by a gyroid, so that voxels have the
partial volumes of one; thalami, putamina and ventricles are ellipsoids within. Sizes are round numbers of ours, for a
head whose white and grey matter are about as large as in an adult.
"""

import numpy as np
from numpy.typing import NDArray

from pulsespec.simulator.head_field import AIR, BONE_AROUND
from pulsespec.simulator.head_settings import HeadSettings

Real = NDArray[np.float64]

WHITE, GREY, FLUID, FAT, SKIN, BONE = "white-matter", "grey-matter", "csf", "scalp-fat", "soft-tissue", "bone"
NO_BRAIN = (FLUID, FAT, SKIN, BONE)
"""What is in a head and not in its brain."""

_RIBBON_MM, _DEEPEST_MM, _SULCUS_MM = 3.5, 18.0, 16.0
"""Thickness of the cortex on a crown, what it gains towards the bottom of a fold, and the depth of a fold's fluid."""
_GREY_FROM, _GREY_RISE, _SULCUS_FROM = -0.45, 0.7, 0.62
_DEEP_GREY = (((12.0, -18.0, 6.0), (9.0, 14.0, 10.0)), ((25.0, 4.0, 2.0), (8.0, 19.0, 12.0)))
_VENTRICLES = (((9.0, -4.0, 18.0), (5.0, 30.0, 8.0)),)
"""Centre and semi-axes in mm on the right; the same on the left."""


def drawn(settings: HeadSettings, points_mm: Real, blur_mm: float) -> dict[str, NDArray[np.float32]]:
    """Return the share of each tissue at points, bone included.

    Parameters
    ----------
    settings
        The head.
    points_mm
        World coordinates; shape (..., 3).
    blur_mm
        Width over which an edge goes from nothing to all: the spacing of the points.

    Returns
    -------
    By tissue, shape (...,); what is missing to 1 is air.

    """
    points = points_mm - np.asarray(settings.centre_mm)
    outer = np.asarray(settings.outer_mm)
    depth = _depth(points, outer)
    found: dict[str, NDArray[np.float32]] = {}
    below = 0.0
    for tissue, thickness in (
        (SKIN, settings.skin_mm), (FAT, settings.fat_mm), (BONE, settings.skull_mm), (FLUID, settings.fluid_mm),
    ):  # fmt: skip
        _paint(found, tissue, _inside(depth - below, blur_mm) if thickness else np.zeros_like(depth))
        below += thickness
    _brain(found, points, outer - below, _inside(depth - below, blur_mm), blur_mm, settings.fold_mm)
    for centre, radius in AIR:
        away = np.linalg.norm(points - np.asarray(centre), axis=-1)
        near = _inside(BONE_AROUND * radius + blur_mm - away, blur_mm)  # all of it within that radius
        bone = found[BONE] * (1 - near) + near * np.sum(list(found.values()), axis=0)
        _paint(found, BONE, near)
        found[BONE] = bone.astype(np.float32)
    if settings.lesion:
        away = np.linalg.norm(points_mm - np.asarray(settings.lesion_centre_mm), axis=-1)
        within = _inside(settings.lesion_radius_mm - away, blur_mm) * _inside(depth - below, blur_mm)
        _paint(found, settings.lesion, within)
    return found


def _brain(
    found: dict[str, NDArray[np.float32]],
    points: Real,
    axes: Real,
    inside: Real,
    blur_mm: float,
    fold_mm: float,
) -> None:
    """Paint white matter, the folded cortex with its fluid, deep grey matter and ventricles."""
    depth = _depth(points, axes)
    fold = _fold(points, axes, fold_mm)
    rise = np.clip((fold - _GREY_FROM) / _GREY_RISE, 0, 1)
    ribbon = _RIBBON_MM + _DEEPEST_MM * rise**2 * (3 - 2 * rise)
    sulcus = _SULCUS_MM * np.clip((fold - _SULCUS_FROM) / (1 - _SULCUS_FROM), 0, 1)
    _paint(found, WHITE, inside)
    _paint(found, GREY, inside * _inside(ribbon - depth, blur_mm))
    _paint(found, FLUID, inside * _inside(sulcus - depth, blur_mm) * (sulcus > 0))
    for tissue, shapes in ((GREY, _DEEP_GREY), (FLUID, _VENTRICLES)):
        for centre, size in shapes:
            for side in (1.0, -1.0):
                middle = np.asarray(centre) * np.array([side, 1.0, 1.0])
                _paint(found, tissue, _inside(_depth(points - middle, np.asarray(size)), blur_mm))


def _paint(found: dict[str, NDArray[np.float32]], tissue: str, share: Real) -> None:
    """Put a tissue over what is there."""
    for name in found:
        found[name] = (found[name] * (1 - share)).astype(np.float32)
    found[tissue] = (found.get(tissue, np.float32(0)) + share).astype(np.float32)


def _inside(depth_mm: Real, blur_mm: float) -> Real:
    return np.asarray(np.clip(depth_mm / blur_mm + 0.5, 0.0, 1.0))


def _depth(points: Real, axes: Real) -> Real:
    """Return how deep points lie below an ellipsoid, to first order; negative outside."""
    radius = np.sqrt(((points / axes) ** 2).sum(axis=-1))
    slope = np.sqrt(((points / axes**2) ** 2).sum(axis=-1)) / np.maximum(radius, 1e-9)
    return np.asarray((1 - radius) / np.maximum(slope, 1e-9))


def _fold(points: Real, axes: Real, distance_mm: float) -> Real:
    """Return a pattern from -1 to 1 that is the same along each ray from the centre, folds a distance apart."""
    radius = np.sqrt(((points / axes) ** 2).sum(axis=-1, keepdims=True))
    u = 2 * np.pi * points / np.maximum(radius, 1e-9) / distance_mm
    x, y, z = np.moveaxis(u, -1, 0)
    wave = np.sin(x) * np.cos(y) + np.sin(y) * np.cos(z) + np.sin(z) * np.cos(x)
    return np.asarray(wave / 1.5)
