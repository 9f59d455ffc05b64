"""Import of rasters: time and peak memory for many chips, from a few large scenes or from a file a square kilometre.

    python -m benchmarks.importing --side 100 --layout tiles

makes made-up GeoTIFFs (not timed), imports them in a process of its own, and prints chips, seconds and peak memory
(VmHWM).
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from flight.clock import cpu_s, wall_s

WEST_M, NORTH_M, KM_PX = 400_000.0, 4_900_000.0, 100
CRS = "EPSG:32630"


def make_files(directory: Path, side_km: int, layout: str) -> list[Path]:
    """GeoTIFFs of uint16, 4 bands at 10 m: "scenes" of 25 km or "tiles" of 1 km; and municipalities.gpkg."""
    import geopandas
    import shapely

    rng = np.random.Generator(np.random.PCG64(1))
    size_km = min(25, side_km) if layout == "scenes" else 1
    noise = rng.normal(1500, 300, (4, 1024, 1024)).clip(1, 9999).astype(np.uint16)
    paths = []
    for row in range(0, side_km, size_km):
        for col in range(0, side_km, size_km):
            paths.append(_raster(directory / f"{row:03d}-{col:03d}.tif", noise, row, col, size_km))
    box = shapely.box(WEST_M, NORTH_M - side_km * 1000, WEST_M + side_km * 1000, NORTH_M)
    seats = rng.uniform(box.bounds[:2], box.bounds[2:], (max(3, side_km * side_km // 40), 2))
    cells = shapely.get_parts(shapely.voronoi_polygons(shapely.multipoints(seats), extend_to=box))
    shapes = shapely.intersection(cells, box)
    codes = [f"{i:05d}" for i in range(len(shapes))]
    frame = geopandas.GeoDataFrame({"CODE": codes}, geometry=shapes, crs=CRS)
    frame.to_crs("EPSG:4326").to_file(directory / "municipalities.gpkg")
    shares = rng.dirichlet([1.0, 1.0, 1.0], len(codes))
    rows = [
        f"{code},{a:.5f},{b:.5f},{1 - round(a, 5) - round(b, 5):.5f}"
        for code, (a, b, _) in zip(codes, shares, strict=True)
    ]
    (directory / "table.csv").write_text("\n".join(["code,a,b,c", *rows]), encoding="utf-8")
    return paths


def _raster(path: Path, noise: np.ndarray, row_km: int, col_km: int, size_km: int) -> Path:
    import rasterio

    side = size_km * KM_PX
    at = (np.arange(side)[:, None] * 7 + row_km) % 1024, (np.arange(side)[None, :] * 3 + col_km) % 1024
    profile = {
        "driver": "GTiff", "count": 4, "height": side, "width": side, "dtype": "uint16", "crs": CRS, "nodata": 0,
        "tiled": side > 256, "compress": "deflate", "zlevel": 1,
        "transform": rasterio.Affine(10, 0, WEST_M + col_km * 1000, 0, -10, NORTH_M - row_km * 1000),
    }  # fmt: skip
    if side <= 256:
        del profile["tiled"]
    with rasterio.open(path, "w", **profile) as file:
        file.write(noise[:, at[0], at[1]])
    return path


def measure(directory: Path, out: Path) -> dict[str, float]:
    """Chips, seconds and peak memory [MB] of importing the files of a directory."""
    from ground.importer.build import BuildOptions, build
    from ground.polygons import PolygonOptions

    options = BuildOptions(
        images=tuple(sorted(directory.glob("*.tif"))),
        polygons=directory / "municipalities.gpkg",
        polygon_options=PolygonOptions("CODE"),
        labels=directory / "table.csv",
    )
    start_s, start_cpu_s = wall_s(), cpu_s()
    built = build(options, out)
    took_s, took_cpu_s = wall_s() - start_s, cpu_s() - start_cpu_s
    status = Path("/proc/self/status").read_text(encoding="ascii")
    peak_kb = next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM"))
    return {
        "chips": built.facts["chips"],
        "seconds": round(took_s, 1),
        "cpu_seconds": round(took_cpu_s, 1),
        "peak_mb": round(peak_kb / 1024, 1),
    }


def main() -> None:
    """Make, import, and print one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--side", type=int, default=100, help="side of the land [km]")
    parser.add_argument("--layout", choices=("scenes", "tiles"), default="scenes")
    parser.add_argument("--measure", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure is not None:
        print(json.dumps(measure(options.measure, options.measure / "out.npz")))
        return
    with TemporaryDirectory() as name:
        files = make_files(Path(name), options.side, options.layout)
        command = [sys.executable, "-m", "benchmarks.importing", "--measure", name]
        result = subprocess.run(command, check=True, capture_output=True, text=True)
    print(json.dumps({"layout": options.layout, "files": len(files), **json.loads(result.stdout)}))


if __name__ == "__main__":
    main()
