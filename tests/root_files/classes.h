// Classes with the numbers of make.py, for the files of this folder.
#pragma once
#define ENTRIES 20
#include <TClonesArray.h>
#include <TFile.h>
#include <TLorentzVector.h>
#include <TObject.h>
#include <TTree.h>
#include <array>
#include <list>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>
inline int whole(int i, int k, int c) { return (7 * i + 3 * k + 11 * c) % 64; }
inline double truth(int i, int k, int c) { return whole(i, k, c) / 4.0; }

struct Pointed { // arrays of variable length behind pointers
  int n = 0;
  Double32_t *d_1 = nullptr; //[n]
  Double32_t *d_2 = nullptr; //[n][0,20,14]
  Float16_t *f_3 = nullptr;  //[n]
  float *x_4 = nullptr;      //[n]
  ClassDefNV(Pointed, 1) };
struct Plain { float f_1; int i_2; bool o_3; double d_4; float a_5[3]; ClassDefNV(Plain, 1) };
struct Packed {
  Double32_t d_1;
  Double32_t d_2; //[0,20]
  Double32_t d_3; //[0,20,14]
  Double32_t d_4; //[0,0,12]
  Float16_t f_5;
  Float16_t f_6; //[0,20]
  Float16_t f_7; //[0,20,14]
  Float16_t f_8; //[0,0,14]
  Double32_t da_9[3]; //[0,20,14]
  Double32_t da_10[3]; //[0,20]
  Double32_t da_11[3]; //[0,0,12]
  Float16_t fa_12[3];
  Float16_t fa_13[3]; //[0,20,14]
  Double32_t da_14[3];
  ClassDefNV(Packed, 1)
};
struct Ranged { Double32_t d_1; //[0,20]
  ClassDefNV(Ranged, 1) };
struct Hit { float e_1; int c_2; ClassDefNV(Hit, 1) };
struct Inner { float x_1; std::vector<float> v_2; ClassDefNV(Inner, 1) };
struct Event {
  int id_1;
  std::vector<Hit> hits;
  std::vector<float> v_3;
  std::array<float, 3> a_4;
  Inner inner;
  std::vector<bool> b_5;
  std::vector<std::vector<float>> vv_6;
  std::vector<Double32_t> d_7;
  std::string text;
  ClassDefNV(Event, 1)
};
struct Many { std::map<int, float> m_1; std::pair<int, float> p; ClassDefNV(Many, 1) };
class Track : public TObject { public: float PT, Eta; int Charge; ClassDef(Track, 1) };
struct Loose { int i_1; float f_2; std::vector<float> v_3; };
struct LooseHit { float e_1; short c_2; };
struct Base { int b_1; ClassDefNV(Base, 3) };
struct Derived : public Base { float f_2; ClassDefNV(Derived, 2) };
inline int length(int i) { return i % 4; }
inline void put(Plain &p, int i) {
  p.f_1 = truth(i, 0, 1); p.i_2 = whole(i, 0, 2); p.o_3 = whole(i, 0, 3) % 2; p.d_4 = truth(i, 0, 4);
  for (int k = 0; k < 3; ++k) p.a_5[k] = truth(i, k, 5);
}
inline void put(Packed &p, int i) {
  p.d_1 = truth(i, 0, 1); p.d_2 = truth(i, 0, 2); p.d_3 = truth(i, 0, 3); p.d_4 = truth(i, 0, 4);
  p.f_5 = truth(i, 0, 5); p.f_6 = truth(i, 0, 6); p.f_7 = truth(i, 0, 7); p.f_8 = truth(i, 0, 8);
  for (int k = 0; k < 3; ++k) {
    p.da_9[k] = truth(i, k, 9); p.da_10[k] = truth(i, k, 10); p.da_11[k] = truth(i, k, 11);
    p.fa_12[k] = truth(i, k, 12); p.fa_13[k] = truth(i, k, 13); p.da_14[k] = truth(i, k, 14);
  }
}
inline void put(std::vector<Hit> &hits, int i) {
  hits.clear();
  for (int k = 0; k < length(i); ++k) hits.push_back({float(truth(i, k, 1)), whole(i, k, 2)});
}
template <class T> void put(std::vector<T> &v, int i, int c, int n) {
  v.clear();
  for (int k = 0; k < n; ++k) v.push_back(truth(i, k, c));
}
inline void put(Event &e, int i) {
  e.id_1 = whole(i, 0, 1); put(e.hits, i); put(e.v_3, i, 3, length(i));
  for (int k = 0; k < 3; ++k) e.a_4[k] = truth(i, k, 4);
  e.inner.x_1 = truth(i, 0, 1); put(e.inner.v_2, i, 2, length(i));
  e.b_5.clear(); e.vv_6.clear(); e.text = "entry";
  for (int k = 0; k < length(i); ++k) {
    e.b_5.push_back(whole(i, k, 5) % 2);
    e.vv_6.push_back({float(truth(i, k, 6))});
  }
  put(e.d_7, i, 7, length(i));
}
inline void put(Many &m, int i) {
  m.m_1.clear();
  for (int k = 0; k < length(i); ++k) m.m_1[k] = truth(i, k, 1);
  m.p = {whole(i, 0, 2), float(truth(i, 0, 3))};
}
