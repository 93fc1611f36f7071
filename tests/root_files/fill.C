// Writes objects.root and fields.root; make.py compiles it with ROOT.
#include "classes.h"
#include <ROOT/RField.hxx>
#include <ROOT/RNTupleModel.hxx>
#include <ROOT/RNTupleWriteOptions.hxx>
#include <ROOT/RNTupleWriter.hxx>

ClassImp(Track)
#ifdef __CLING__
#pragma link C++ struct Pointed+;
#pragma link C++ struct Plain+;
#pragma link C++ struct Packed+;
#pragma link C++ struct Hit+;
#pragma link C++ class std::vector<Hit>+;
#pragma link C++ struct Loose+;
#pragma link C++ struct LooseHit+;
#pragma link C++ class std::vector<LooseHit>+;
#pragma link C++ struct Base+;
#pragma link C++ struct Derived+;
#pragma link C++ class std::vector<Derived>+;
#pragma link C++ class std::vector<std::pair<int, float>>+;
#pragma link C++ class std::set<int>+;
#pragma link C++ class std::list<float>+;
#pragma link C++ struct Ranged+;
#pragma link C++ class std::vector<Packed>+;
#pragma link C++ class std::vector<Plain>+;
#pragma link C++ struct Inner+;
#pragma link C++ struct Event+;
#pragma link C++ struct Many+;
#pragma link C++ class Track+;
#pragma link C++ class std::map<int, float>+;
#pragma link C++ class std::vector<std::vector<int>>+;
#pragma link C++ class std::vector<TLorentzVector>+;
#endif
void fill_objects(const char *path) {
  TFile f(path, "RECREATE", "", 509); TTree t("objects", "");
  struct { float P_1; int q_2; double d_3[2]; } kin;
  struct { float a_1; double b_2; } mixed;
  Plain split, dotted, plain; Packed packed, whole_packed; Event event, whole_event; Many many;
  std::vector<Hit> hits, whole_hits;
  std::vector<float> v; std::vector<double> w; std::vector<std::vector<int>> vv;
  std::vector<bool> b; TLorentzVector lorentz; TClonesArray tracks("Track"), whole_tracks("Track"); int size;
  std::vector<TLorentzVector> lorentzes; std::vector<std::string> texts; std::array<double, 2> array;
  Ranged ranged; std::vector<Packed> packeds; std::vector<Plain> plains;
  Loose loose; Derived derived; std::vector<LooseHit> loose_hits; std::vector<Derived> deriveds;
  std::map<int, float> map;
  std::vector<std::pair<int, float>> pairs; std::set<int> set; std::list<float> list;
  t.Branch("kin", &kin, "P_1/F:q_2/I:d_3[2]/D");
  t.Branch("mixed", &mixed, "a_1/F:b_2/d[0,20,14]");
  t.Branch("split", &split); t.Branch("dotted.", &dotted); t.Branch("plain", &plain, 32000, 0);
  t.Branch("packed", &packed); t.Branch("whole_packed", &whole_packed, 32000, 0);
  t.Branch("event", &event); t.Branch("whole_event", &whole_event, 32000, 0);
  t.Branch("many", &many, 32000, 0);
  t.Branch("hits", &hits); t.Branch("whole_hits", &whole_hits, 32000, 0);
  t.Branch("v_1", &v); t.Branch("w_2", &w); t.Branch("vv_3", &vv); t.Branch("b_4", &b);
  t.Branch("lorentz", &lorentz); t.Branch("lorentzes", &lorentzes, 32000, 0);
  t.Branch("Track", &tracks); t.Branch("Track_size", &size, "Track_size/I");
  t.Branch("WholeTrack", &whole_tracks, 32000, 0);
  t.Branch("loose", &loose, 32000, 0); t.Branch("ranged", &ranged, 32000, 0);
  t.Branch("packeds", &packeds); t.Branch("plains", &plains);
  t.Branch("whole_plains", &plains, 32000, 0);
  t.Branch("derived", &derived, 32000, 0); t.Branch("split_derived.", &derived);
  t.Branch("loose_hits", &loose_hits, 32000, 0); t.Branch("deriveds", &deriveds, 32000, 0);
  t.Branch("map", &map, 32000, 0); t.Branch("pairs", &pairs, 32000, 0); t.Branch("set_6", &set, 32000, 0);
  t.Branch("list_7", &list, 32000, 0);
  t.Branch("texts", &texts); t.Branch("array_5", &array);
  for (int i = 0; i < ENTRIES; ++i) {
    kin = {float(truth(i, 0, 1)), whole(i, 0, 2), {truth(i, 0, 3), truth(i, 1, 3)}};
    mixed = {float(truth(i, 0, 1)), truth(i, 0, 2)};
    put(split, i); put(dotted, i); put(plain, i); put(packed, i); put(whole_packed, i);
    put(event, i); put(whole_event, i); put(many, i); put(hits, i); put(whole_hits, i);
    put(v, i, 1, length(i)); put(w, i, 2, length(i)); texts.assign(length(i), "text");
    vv.clear(); b.clear(); tracks.Clear(); whole_tracks.Clear(); lorentzes.clear();
    for (int k = 0; k < length(i); ++k) {
      vv.push_back({whole(i, k, 3)}); b.push_back(whole(i, k, 4) % 2);
      for (auto *list : {&tracks, &whole_tracks}) {
        auto *track = static_cast<Track *>(list->ConstructedAt(k));
        track->PT = truth(i, k, 1); track->Eta = truth(i, k, 2); track->Charge = whole(i, k, 3);
      }
      lorentzes.emplace_back(truth(i, k, 1), truth(i, k, 2), truth(i, k, 3), truth(i, k, 4));
    }
    loose = {whole(i, 0, 1), float(truth(i, 0, 2)), {}}; put(loose.v_3, i, 3, length(i));
    derived.b_1 = whole(i, 0, 1); derived.f_2 = truth(i, 0, 2);
    ranged.d_1 = truth(i, 0, 1);     packeds.resize(length(i)); plains.resize(length(i));
    for (int k = 0; k < length(i); ++k) { put(packeds[k], i + k); put(plains[k], i + k); }
    loose_hits.clear(); deriveds.clear(); map.clear(); pairs.clear(); set.clear(); list.clear();
    for (int k = 0; k < length(i); ++k) {
      loose_hits.push_back({float(truth(i, k, 1)), short(whole(i, k, 2))});
      Derived one; one.b_1 = whole(i, k, 1); one.f_2 = truth(i, k, 2); deriveds.push_back(one);
      map[k] = truth(i, k, 1); pairs.push_back({whole(i, k, 1), float(truth(i, k, 2))});
      set.insert(k); list.push_back(truth(i, k, 7));
    }
    size = length(i); array = {truth(i, 0, 5), truth(i, 1, 5)};
    lorentz.SetPxPyPzE(truth(i, 0, 1), truth(i, 0, 2), truth(i, 0, 3), truth(i, 0, 4));
    t.Fill();
  }
  t.Write();
}
void fill_pointed(const char *path) {
  TFile f(path, "RECREATE", "", 509); TTree t("pointed", "");
  Pointed p; p.d_1 = new Double32_t[4]; p.d_2 = new Double32_t[4]; p.f_3 = new Float16_t[4]; p.x_4 = new float[4];
  t.Branch("pointed", &p);
  for (int i = 0; i < ENTRIES; ++i) {
    p.n = length(i);
    for (int k = 0; k < p.n; ++k) {
      p.d_1[k] = truth(i, k, 1); p.d_2[k] = truth(i, k, 2); p.f_3[k] = truth(i, k, 3); p.x_4[k] = truth(i, k, 4);
    }
    t.Fill();
  }
  t.Write();
}
void fill_empty(const char *path) {
  TFile f(path, "RECREATE"); TTree t("showers", "");
  t.Write();
}

void fill_fields(const char *path) {
  auto model = ROOT::RNTupleModel::Create();
  auto f = model->MakeField<float>("f_1");
  auto d = model->MakeField<double>("d_2"); auto o = model->MakeField<bool>("o_3");
  auto c = model->MakeField<std::int8_t>("c_4"); auto l = model->MakeField<std::uint64_t>("l_5");
  auto v = model->MakeField<std::vector<float>>("v_6");
  auto vv = model->MakeField<std::vector<std::vector<float>>>("vv_7");
  auto b = model->MakeField<std::vector<bool>>("b_8"); auto a = model->MakeField<std::array<float, 3>>("a_9");
  auto m = model->MakeField<std::array<std::array<float, 2>, 2>>("m_10");
  auto plain = model->MakeField<Plain>("plain"); auto hits = model->MakeField<std::vector<Hit>>("hits");
  auto event = model->MakeField<Event>("event");
  auto optional = model->MakeField<std::optional<float>>("optional_11");
  auto pair = model->MakeField<std::pair<int, float>>("pair");
  auto text = model->MakeField<std::string>("text");
  std::vector<std::shared_ptr<float>> reals; std::vector<std::shared_ptr<std::vector<double>>> lists;
  for (int k = 0; k < 4; ++k) {
    auto one = std::make_unique<ROOT::RField<float>>("real_" + std::to_string(12 + k));
    if (k == 0) one->SetHalfPrecision();
    if (k == 1) one->SetTruncated(20);
    if (k == 2) one->SetQuantized(0, 20, 14);
    if (k == 3) one->SetQuantized(-10, 40, 27);
    model->AddField(std::move(one));
  }
  auto d32 = std::make_unique<ROOT::RField<double>>("real_16");
  d32->SetDouble32();
  model->AddField(std::move(d32));
  ROOT::RNTupleWriteOptions options; options.SetCompression(505);
  auto writer = ROOT::RNTupleWriter::Recreate(std::move(model), "fields", path, options);
  for (int i = 0; i < ENTRIES; ++i) {
    auto &entry = writer->GetModel().GetDefaultEntry();
    for (int k = 0; k < 4; ++k) *entry.GetPtr<float>("real_" + std::to_string(12 + k)) = truth(i, 0, 12 + k);
    *entry.GetPtr<double>("real_16") = truth(i, 0, 16);
    *f = truth(i, 0, 1); *d = truth(i, 0, 2); *o = whole(i, 0, 3) % 2;
    *c = whole(i, 0, 4); *l = whole(i, 0, 5);
    put(*v, i, 6, length(i)); vv->clear(); b->clear();
    for (int k = 0; k < length(i); ++k) {
      vv->push_back({float(truth(i, k, 7))});
      b->push_back(whole(i, k, 8) % 2);
    }
    for (int k = 0; k < 3; ++k) (*a)[k] = truth(i, k, 9);
    for (int k = 0; k < 4; ++k) (*m)[k / 2][k % 2] = truth(i, k, 10);
    put(*plain, i); put(*hits, i); put(*event, i);
    *optional = i % 3 ? std::optional<float>(truth(i, 0, 11)) : std::nullopt;
    *pair = {whole(i, 0, 12), float(truth(i, 0, 13))}; *text = "text";
    writer->Fill();
  }
}
