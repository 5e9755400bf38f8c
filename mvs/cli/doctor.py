"""``mvs doctor``: whether this machine can do what headmvs asks of it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class Options:
    """Print versions and processor, and try each part on something whose answer is known.

    Attributes:
        json: also write it all to this file; without a name, print it.
    """

    json: Path | None = None


def run(options: Options) -> int:
    """Run the command; 1 where a part does not work."""
    from dataclasses import asdict

    from calib.files import write_json
    from mvs.cli.show import deliver
    from mvs.evaluation.doctor import describe_libraries, describe_machine, run_checks

    machine, libraries = describe_machine(), describe_libraries()
    for name, value in (machine | libraries).items():
        print(f"{name:<28}{value}")
    print()
    checks = []
    for check in run_checks():
        checks.append(check)
        print(f"{'ok    ' if check.is_well else 'FAILED'}  {check.name:<28}{check.seconds:6.1f} s")
        if check.reason:
            print(f"        {check.reason}")
    tried = [asdict(check) for check in checks]
    found = {"machine": machine, "libraries": libraries, "checks": tried}
    deliver(found)
    if options.json is not None:
        write_json(options.json, found)
    return 0 if all(check.is_well for check in checks) else 1
