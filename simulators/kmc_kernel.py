"""The compiled inner loop of kinematic growth: solid-on-solid kinetic Monte Carlo, rejection-free.

Sites of a periodic square lattice are numbered 0 to n_sites - 1. The topmost atom of a site belongs
to the class of its number of lateral neighbours (0 to 4); class 5 holds sites without a mobile atom.
Each class keeps a list of its sites, so that an event is found in constant time; every atom of a
class has the same rate.

A vicinal surface is a staircase without end: seen across the edge of the lattice, a neighbour stands
higher or lower by the steps of one lattice (`rise`). Only heights of neighbours are ever compared, so
nothing else of the model changes.

Source: Bortz, Kalos & Lebowitz, J. Comput. Phys. 17, 10 (1975), doi:10.1016/0021-9991(75)90060-1
(lists by class); Clarke & Vvedensky, J. Appl. Phys. 63, 2272 (1988), doi:10.1063/1.341041
(solid-on-solid growth with bond counting).
"""

import math

import numpy as np
from numpy.typing import NDArray

from twinloop.simulators.compiled import compiled, inlined

__all__ = [
    "DEPOSITED",
    "DESORBED",
    "INERT",
    "N_CLASSES",
    "N_TALLIES",
    "THERMAL",
    "fill_lists",
    "next_random",
    "run_events",
    "seed_random",
]

N_CLASSES = 6
INERT = 5
"""Class of a site whose topmost atom never moves (an inert substrate)."""

DEPOSITED, DESORBED, THERMAL = 0, 1, 2
"""Indices into the tally of events."""
N_TALLIES = 3

_TO_UNIT = 1.0 / 9007199254740992.0


@compiled
def seed_random(seed: np.uint64, state: NDArray[np.uint64]) -> None:
    """Fill the generator's state from one number by splitmix64.

    Args:
        seed: any 64-bit number.
        state: shape (4,), overwritten.

    Source: Blackman & Vigna, ACM Trans. Math. Softw. 47, 36 (2021), doi:10.1145/3460772.
    """
    z = np.uint64(seed)
    for i in range(4):
        z = z + np.uint64(0x9E3779B97F4A7C15)
        x = z
        x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        state[i] = x ^ (x >> np.uint64(31))


@inlined
def next_random(s: NDArray[np.uint64]) -> np.uint64:
    """Return the next 64 random bits of xoshiro256++ and move its state on.

    Args:
        s: the state, shape (4,).

    Source: Blackman & Vigna, ACM Trans. Math. Softw. 47, 36 (2021), doi:10.1145/3460772.
    """
    x = s[0] + s[3]
    result: np.uint64 = ((x << np.uint64(23)) | (x >> np.uint64(41))) + s[0]
    t = s[1] << np.uint64(17)
    s[2] ^= s[0]
    s[3] ^= s[1]
    s[1] ^= s[2]
    s[0] ^= s[3]
    s[2] ^= t
    s[3] = (s[3] << np.uint64(45)) | (s[3] >> np.uint64(19))
    return result


@inlined
def _unit(bits: np.uint64) -> float:
    """Return a number in [0, 1) from the upper 53 bits."""
    return np.float64(bits >> np.uint64(11)) * _TO_UNIT


@inlined
def _beside(
    site: int,
    d: int,
    heights: NDArray[np.int32],
    neighbours: NDArray[np.int32],
    rise: NDArray[np.int8] | None,
) -> int:
    """Return the height of a neighbour as it looks from a site.

    Without a rise (None is a type of its own here) the compiler leaves the sum out.
    """
    if rise is None:
        return int(heights[neighbours[site, d]])
    return int(heights[neighbours[site, d]]) + int(rise[site, d])


@inlined
def _class_of(
    site: int,
    heights: NDArray[np.int32],
    neighbours: NDArray[np.int32],
    rise: NDArray[np.int8] | None,
    floor: int,
) -> int:
    """Return the class of the topmost atom of a site."""
    h = heights[site]
    if h <= floor:
        return INERT
    n = 0
    for d in range(4):
        if _beside(site, d, heights, neighbours, rise) >= h:
            n += 1
    return n


@inlined
def _move_to_class(
    site: int,
    new: int,
    classes: NDArray[np.int8],
    members: NDArray[np.int32],
    places: NDArray[np.int32],
    counts: NDArray[np.int64],
) -> None:
    """Take a site out of the list of its class and append it to another."""
    old = classes[site]
    if old == new:
        return
    last = counts[old] - 1
    place = places[site]
    moved = members[old, last]
    members[old, place] = moved
    places[moved] = place
    counts[old] = last
    members[new, counts[new]] = site
    places[site] = counts[new]
    counts[new] += 1
    classes[site] = new


@compiled
def fill_lists(
    heights: NDArray[np.int32],
    neighbours: NDArray[np.int32],
    rise: NDArray[np.int8] | None,
    floor: int,
    classes: NDArray[np.int8],
    members: NDArray[np.int32],
    places: NDArray[np.int32],
    counts: NDArray[np.int64],
) -> None:
    """Build the lists of a surface, in the order of its sites.

    Args:
        heights: shape (n_sites,) [ML].
        neighbours: shape (n_sites, 4), site numbers.
        rise: shape (n_sites, 4), added to the height of that neighbour [ML]; None: zeros.
        floor: a site at or below this height [ML] holds no mobile atom.
        classes: shape (n_sites,), overwritten.
        members: shape (N_CLASSES, n_sites), overwritten: the sites of each class.
        places: shape (n_sites,), overwritten: where a site stands in its list.
        counts: shape (N_CLASSES,), overwritten: the lengths of the lists.
    """
    counts[:] = 0
    for site in range(heights.size):
        c = _class_of(site, heights, neighbours, rise, floor)
        classes[site] = c
        members[c, counts[c]] = site
        places[site] = counts[c]
        counts[c] += 1


@inlined
def _remove_atom(
    site: int,
    heights: NDArray[np.int32],
    neighbours: NDArray[np.int32],
    rise: NDArray[np.int8] | None,
    floor: int,
    classes: NDArray[np.int8],
    members: NDArray[np.int32],
    places: NDArray[np.int32],
    counts: NDArray[np.int64],
) -> None:
    """Take the topmost atom away; only neighbours of the same height lose a bond."""
    h = heights[site]
    heights[site] = h - 1
    for d in range(4):
        k = neighbours[site, d]
        if _beside(site, d, heights, neighbours, rise) == h:
            _move_to_class(k, classes[k] - 1, classes, members, places, counts)
    new = _class_of(site, heights, neighbours, rise, floor)
    _move_to_class(site, new, classes, members, places, counts)


@inlined
def _add_atom(
    site: int,
    heights: NDArray[np.int32],
    neighbours: NDArray[np.int32],
    rise: NDArray[np.int8] | None,
    floor: int,
    classes: NDArray[np.int8],
    members: NDArray[np.int32],
    places: NDArray[np.int32],
    counts: NDArray[np.int64],
) -> None:
    """Put an atom on top; only neighbours of the new height gain a bond."""
    h = heights[site] + 1
    heights[site] = h
    for d in range(4):
        k = neighbours[site, d]
        if _beside(site, d, heights, neighbours, rise) == h:
            _move_to_class(k, classes[k] + 1, classes, members, places, counts)
    new = _class_of(site, heights, neighbours, rise, floor)
    _move_to_class(site, new, classes, members, places, counts)


@compiled
def _funnel(
    site: int,
    heights: NDArray[np.int32],
    neighbours: NDArray[np.int32],
    rise: NDArray[np.int8] | None,
    random: NDArray[np.uint64],
) -> int:
    """Return where an arriving atom comes to rest when it slides down to the lowest neighbour.

    Source: Evans, Sanders, Thiel & DePristo, Phys. Rev. B 41, 5410 (1990),
    doi:10.1103/PhysRevB.41.5410 (downward funnelling).
    """
    here = site
    while True:
        start = int(np.int64(next_random(random) & np.uint64(3)))
        lowest, depth = here, int(heights[here])
        for i in range(4):
            d = (start + i) & 3
            height = _beside(here, d, heights, neighbours, rise)
            if height < depth:
                lowest, depth = int(neighbours[here, d]), height
        if lowest == here:
            return here
        here = lowest


@inlined
def _walk(
    site: int,
    hops: int,
    step_factor: float,
    heights: NDArray[np.int32],
    neighbours: NDArray[np.int32],
    rise: NDArray[np.int8] | None,
    floor: int,
    classes: NDArray[np.int8],
    members: NDArray[np.int32],
    places: NDArray[np.int32],
    counts: NDArray[np.int64],
    random: NDArray[np.uint64],
) -> None:
    """Let the free adatom on `site` take at most `hops` (<= 32) hops, until it meets a neighbour.

    A crossing of a step that is refused costs a hop, as it does in plain kinetic Monte Carlo; one
    that happens leads beside the step, so to a neighbour.
    """
    # Nobody is bound to a free adatom: taking it off changes only its own site.
    heights[site] -= 1
    here = site
    bits = next_random(random)
    for _ in range(hops):
        way = int(bits & np.uint64(3))
        bits >>= np.uint64(2)
        if _beside(here, way, heights, neighbours, rise) != heights[here] and (
            step_factor < 1.0 and _unit(next_random(random)) >= step_factor
        ):
            continue
        here = int(neighbours[here, way])
        h = heights[here]
        if (
            _beside(here, 0, heights, neighbours, rise) > h
            or _beside(here, 1, heights, neighbours, rise) > h
            or _beside(here, 2, heights, neighbours, rise) > h
            or _beside(here, 3, heights, neighbours, rise) > h
        ):
            break
    if here == site:
        heights[site] += 1
        return
    left = _class_of(site, heights, neighbours, rise, floor)
    h = heights[here] + 1
    bound = classes[here] != left
    for d in range(4):
        if _beside(here, d, heights, neighbours, rise) >= h:
            bound = True
    if bound:
        _move_to_class(site, left, classes, members, places, counts)
        _add_atom(here, heights, neighbours, rise, floor, classes, members, places, counts)
        return
    # Still free, and the two sites only change their parts: so do their places in the lists.
    heights[here] = h
    place, other = places[site], places[here]
    members[0, place], members[left, other] = here, site
    places[site], places[here] = other, place
    classes[site], classes[here] = left, 0


@compiled
def _begin_walk(
    site: int,
    multi_hop: int,
    step_factor: float,
    heights: NDArray[np.int32],
    neighbours: NDArray[np.int32],
    rise: NDArray[np.int8] | None,
    floor: int,
    classes: NDArray[np.int8],
    members: NDArray[np.int32],
    places: NDArray[np.int32],
    counts: NDArray[np.int64],
    random: NDArray[np.uint64],
) -> None:
    """Let an adatom that has just become free take 0 to `multi_hop` - 1 hops at once.

    Its hop j then comes after ceil((j - K) / M) waits of the mean M / k, which is j / k on average
    over a uniform K in 0 to M - 1 (Hermite's identity): so walks of M hops at the rate k / M leave
    the mean time that an atom is free as it is in plain kinetic Monte Carlo. Without this first
    walk every atom would be free for too long, and the surface too rough.
    """
    if multi_hop > 1 and classes[site] == 0:
        hops = int(next_random(random) % np.uint64(multi_hop))
        if hops > 0:
            _walk(
                site, hops, step_factor, heights, neighbours, rise, floor, classes, members, places,
                counts, random,
            )  # fmt: skip


@compiled
def run_events(
    heights: NDArray[np.int32],
    neighbours: NDArray[np.int32],
    rise: NDArray[np.int8] | None,
    floor: int,
    classes: NDArray[np.int8],
    members: NDArray[np.int32],
    places: NDArray[np.int32],
    counts: NDArray[np.int64],
    random: NDArray[np.uint64],
    tally: NDArray[np.int64],
    hop_rates: NDArray[np.float64],
    desorption_rates: NDArray[np.float64],
    step_factor: float,
    arrival_rate: float,
    multi_hop: int,
    funnelling: bool,
    duration_s: float,
    max_events: int,
) -> tuple[float, int]:
    """Run until the duration is over or the events are spent; return (elapsed [s], events).

    A draw that falls after the end is thrown away, which is exact: the residence time of a state is
    exponential and so has no memory.

    Args:
        heights: shape (n_sites,) [ML], changed in place, as are the lists (see `fill_lists`).
        neighbours: shape (n_sites, 4), site numbers.
        rise: shape (n_sites, 4), added to the height of that neighbour [ML]; None: zeros.
        floor: a site at or below this height [ML] holds no mobile atom.
        classes: shape (n_sites,).
        members: shape (N_CLASSES, n_sites).
        places: shape (n_sites,).
        counts: shape (N_CLASSES,).
        random: state of the generator, shape (4,).
        tally: shape (N_TALLIES,), events by kind, added to.
        hop_rates: shape (N_CLASSES,), rate of a hop in any direction [1/s].
        desorption_rates: shape (N_CLASSES,) [1/s].
        step_factor: chance that a hop between layers is not refused, exp(-E_ES/kT) [1].
        arrival_rate: atoms arriving on the whole lattice [1/s].
        multi_hop: hops of a free adatom in one event, at that fraction of its rate; 1 to 32.
        funnelling: an arriving atom slides down to a local minimum.
        duration_s: the end [s].
        max_events: at most so many events.
    """
    n_sites = heights.size
    weights = hop_rates + desorption_rates
    weights[0] = hop_rates[0] / multi_hop + desorption_rates[0]
    elapsed_s = 0.0
    for event in range(max_events):
        total = arrival_rate
        for c in range(5):
            total += counts[c] * weights[c]
        if total <= 0.0:
            return duration_s, event
        wait_s = -math.log(1.0 - _unit(next_random(random))) / total
        if elapsed_s + wait_s >= duration_s:
            return duration_s, event
        elapsed_s += wait_s

        bits = next_random(random)
        r = _unit(bits) * total
        if r < arrival_rate:
            site = min(int(r / arrival_rate * n_sites), n_sites - 1)
            if funnelling:
                site = _funnel(site, heights, neighbours, rise, random)
            _add_atom(site, heights, neighbours, rise, floor, classes, members, places, counts)
            tally[DEPOSITED] += 1
            _begin_walk(
                site, multi_hop, step_factor, heights, neighbours, rise, floor, classes, members, places,
                counts, random,
            )  # fmt: skip
            continue
        r -= arrival_rate
        c = 0
        while c < 4 and r >= counts[c] * weights[c]:
            r -= counts[c] * weights[c]
            c += 1
        # Rounding may leave the search behind the last atom that can move.
        while c > 0 and (counts[c] == 0 or weights[c] == 0.0):
            c -= 1
        if counts[c] == 0:
            continue
        rank = min(int(r / weights[c]), int(counts[c]) - 1)
        site = int(members[c, rank])
        tally[THERMAL] += 1
        leaves = desorption_rates[c] > 0.0 and r - rank * weights[c] < desorption_rates[c]
        if c == 0 and not leaves:
            _walk(
                site, multi_hop, step_factor, heights, neighbours, rise, floor, classes, members, places,
                counts, random,
            )  # fmt: skip
            continue
        way = int(bits & np.uint64(3))
        there = int(neighbours[site, way])
        crosses = _beside(site, way, heights, neighbours, rise) + 1 != heights[site]
        may_fail = not leaves and crosses and step_factor < 1.0
        if may_fail and _unit(next_random(random)) >= step_factor:
            continue
        h = heights[site]
        _remove_atom(site, heights, neighbours, rise, floor, classes, members, places, counts)
        if leaves:
            tally[DESORBED] += 1
        else:
            _add_atom(there, heights, neighbours, rise, floor, classes, members, places, counts)
        if multi_hop > 1:
            for d in range(4):
                k = int(neighbours[site, d])
                # Neighbours of the same height had a bond to the atom that left.
                level = _beside(site, d, heights, neighbours, rise) == h
                if (level and k != there) or (k == there and not leaves):
                    _begin_walk(
                        k, multi_hop, step_factor, heights, neighbours, rise, floor, classes, members,
                        places, counts, random,
                    )  # fmt: skip
    return elapsed_s, max_events
