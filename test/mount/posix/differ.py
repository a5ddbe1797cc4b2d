"""Runs the table and random calls on a tmpfs and on a mount: differ.py TRUTH MOUNT [options].

Prints what differs, and in its last line what was run; ends with 1 when anything differed.
"""
import argparse
import os
import sys

from cases import TABLES
from engine import Differ
from random_calls import RandomCalls, users


def run_case(differ, name, steps, waits):
    """One scene in a fresh directory; every path is relative to it."""
    place = name.encode() + b'/in'
    for path in (name.encode(), place):
        differ.raw('root', 'mkdir', path, 0o777)
    done = []
    for step in steps:
        if step is None:
            continue
        user, call = step
        moved = tuple(below(place, part, call, index) for index, part in enumerate(call))
        same = differ.prepare(*moved) if user == 'setup' else differ.run(user, *moved, waits=waits)
        done.append((user, call))
        if not same:
            differ.differences[-1] += f'\n    {name} after {done[:-1]!r:.1500}'
            break
    for user in users():
        differ.raw(user, 'closeall')
        differ.raw(user, 'umask', 0)


def below(place, part, call, index):
    if not isinstance(part, bytes):
        return part
    is_data = (call[0] in ('write', 'pwrite') and index == 2) or (call[0] == 'symlink' and index == 1)
    is_data = is_data or (call[0] == 'setxattr' and index == 3)
    return part if is_data else place + b'/' + part


def run_random(differ, seed, steps):
    place = f'random-{seed}'.encode()
    differ.raw('root', 'mkdir', place, 0o777)
    calls = RandomCalls(seed)
    for step in range(steps):
        user, call = calls.next()
        moved = tuple(below(place, part, call, index) for index, part in enumerate(call))
        same = differ.run(user, *moved, waits=False)
        problems = [] if same and step % 100 != 99 else differ.tree(place)
        if problems or not same:
            differ.report('tree', ('seed', seed, 'step', step), problems)
            differ.differences[-1] += f'\n    seed {seed}, step {step}'
            break
    for user in users():
        differ.raw(user, 'closeall')
        differ.raw(user, 'umask', 0)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument('truth')
    parser.add_argument('mount')
    parser.add_argument('--tables', default='')
    # One scene of so many is run; which ones follows from the first seed.
    parser.add_argument('--share', type=int, default=1)
    # Scenes in which the clock of the truth is waited for, so that times are compared both ways.
    parser.add_argument('--every', type=int, default=10)
    parser.add_argument('--seeds', type=int, default=0)
    parser.add_argument('--first', type=int, default=1)
    parser.add_argument('--steps', type=int, default=600)
    parser.add_argument('--shows', type=int, default=20)
    options = parser.parse_args()
    os.umask(0)
    differ = Differ(options.truth, options.mount)
    cases = 0
    for table in TABLES:
        if options.tables != 'all' and table.__name__ not in options.tables.split(','):
            continue
        before = len(differ.differences)
        count = 0
        for index, steps in enumerate(table()):
            if (index + options.first) % options.share != 0:
                continue
            count += 1
            run_case(differ, f'{table.__name__}-{index}', steps, count % options.every == 0)
            cases += 1
        found = differ.differences[before:]
        print(f'{table.__name__}: {count} scenes, {len(found)} differ', flush=True)
        for difference in found[: options.shows]:
            print(difference)
    for seed in range(options.first, options.first + options.seeds):
        before = len(differ.differences)
        run_random(differ, seed, options.steps)
        for difference in differ.differences[before:]:
            print(difference)
    differ.close()
    print(f'{cases} scenes, {options.seeds} seeds, {differ.calls} calls, {len(differ.differences)} differ')
    sys.exit(1 if differ.differences else 0)


main()
