// Hits of showers to energies in cells: addresses are checked, and energies in one cell are added in double precision, in
// the order of the hits.

#include <algorithm>
#include <cstdint>
#include <vector>

namespace {

/// Fill `cells` (n, n_cells) from the hits of n events, up to the first one outside of the geometry.
///
/// `layer` is the null pointer if `i` holds flat cell numbers. `sizes` has n_i, n_j and the first cell of each layer.
/// `outside` becomes the number of that hit, or -1.
template <typename Energy>
void filled(const std::int32_t* layer, const std::int32_t* i, const std::int32_t* j, const Energy* energy,
            const std::int64_t* counts, const std::int32_t* sizes, long n, long n_layers, long n_cells, float* cells,
            std::int64_t* outside) {
    std::vector<double> sums(n_cells);
    std::int64_t hit = 0;
    for (long event = 0; event < n; ++event) {
        std::fill(sums.begin(), sums.end(), 0.0);
        for (const std::int64_t end = hit + counts[event]; hit < end; ++hit) {
            std::int64_t cell = i[hit];
            bool inside = std::uint64_t(cell) < std::uint64_t(n_cells);
            if (layer) {
                inside = std::uint32_t(layer[hit]) < std::uint32_t(n_layers);
                const std::int32_t* size = sizes + 3 * (inside ? layer[hit] : 0);
                inside = inside && std::uint32_t(i[hit]) < std::uint32_t(size[0]) &&
                         std::uint32_t(j[hit]) < std::uint32_t(size[1]);
                cell = size[2] + std::int64_t(i[hit]) * size[1] + j[hit];
            }
            if (!inside) {
                *outside = hit;
                return;
            }
            sums[cell] += energy[hit];
        }
        std::copy(sums.begin(), sums.end(), cells + event * n_cells);
    }
    *outside = -1;
}

}  // namespace

extern "C" {

void hits_float32(const std::int32_t* layer, const std::int32_t* i, const std::int32_t* j, const float* energy,
                  const std::int64_t* counts, const std::int32_t* sizes, long n, long n_layers, long n_cells, float* cells,
                  std::int64_t* outside) {
    filled(layer, i, j, energy, counts, sizes, n, n_layers, n_cells, cells, outside);
}

void hits_float64(const std::int32_t* layer, const std::int32_t* i, const std::int32_t* j, const double* energy,
                  const std::int64_t* counts, const std::int32_t* sizes, long n, long n_layers, long n_cells, float* cells,
                  std::int64_t* outside) {
    filled(layer, i, j, energy, counts, sizes, n, n_layers, n_cells, cells, outside);
}

}
