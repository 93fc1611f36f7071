"""Writes the showers of this folder with ROOT's own converters (6.36 or newer): ``python make_layouts.py``.

``layouts.root`` is a TTree with each kind of layer, and with a friend tree whose file is not kept; ``snapshot.root``
is that tree after ``RDataFrame::Snapshot``, ``importer.root`` after the ``RNTupleImporter``. Cell c of entry i holds
i + c / 64.
"""

from pathlib import Path

import ROOT

HERE = Path(__file__).parent
FILL = """
void fill(const char* path) {
  TFile other("angles.root", "RECREATE");
  TTree angles("angles", "angles");
  float phi = 0;
  angles.Branch("phi", &phi);
  for (int i = 0; i < 8; ++i) angles.Fill();
  angles.Write();
  other.Close();
  TFile file(path, "RECREATE");
  TTree tree("showers", "showers");
  float energy, theta, array[12], matrix[3][4], momentum[2], dll[2];
  std::vector<float> vector(8);
  std::vector<std::vector<float>> nested(2, std::vector<float>(4));
  tree.Branch("incident_energy", &energy); tree.Branch("theta", &theta);
  tree.Branch("layer_0", array, "layer_0[12]/F"); tree.Branch("layer_1", matrix, "layer_1[3][4]/F");
  tree.Branch("layer_2", &vector); tree.Branch("layer_3", &nested);
  tree.Branch("track_P", momentum, "track_P[2]/F"); tree.Branch("track_DLLk", dll, "track_DLLk[2]/F");
  for (int i = 0; i < 8; ++i) {
    energy = 1 + i; theta = i / 16.f;
    for (int c = 0; c < 12; ++c) array[c] = matrix[c / 4][c % 4] = i + c / 64.f;
    for (int c = 0; c < 8; ++c) vector[c] = nested[c / 4][c % 4] = i + c / 64.f;
    for (int k = 0; k < 2; ++k) { momentum[k] = 1 + 2 * i + k; dll[k] = i - 3.f + k / 4.f; }
    tree.Fill();
  }
  tree.AddFriend("angles", "angles.root");
  tree.Write();
}
"""

if __name__ == "__main__":
    ROOT.gInterpreter.Declare(FILL)
    names = {key: str(HERE / f"{key}.root") for key in ("layouts", "snapshot", "importer")}
    for path in names.values():
        Path(path).unlink(missing_ok=True)
    ROOT.fill(names["layouts"])
    kept = [
        "incident_energy",
        "theta",
        "layer_0",
        "layer_1",
        "layer_2",
        "track_P",
        "track_DLLk",
    ]  # no RVec of vectors
    ROOT.RDataFrame("showers", names["layouts"]).Snapshot("showers", names["snapshot"], kept)
    importer = ROOT.Experimental.RNTupleImporter.Create(names["layouts"], "showers", names["importer"])
    importer.Import()
    Path("angles.root").unlink()
