"""Values of TTree formulas, computed by ROOT: run with a Python that has ROOT, formulas as JSON on the standard input.

``{"file": FILE.root, "tree": TREE, "formulas": [TEXT, ...]}`` gives ``{TEXT: [value in each entry, ...]}``; a formula
that ROOT refuses gives null. The values in ttree_formulas.json are of ROOT 6.40.
"""

import json
import sys

import ROOT

ROOT.gErrorIgnoreLevel = ROOT.kFatal
job = json.load(sys.stdin)
file = ROOT.TFile(job["file"])
tree = file.Get(job["tree"])
values = {}
for text in job["formulas"]:
    formula = ROOT.TTreeFormula("formula", text, tree)
    if formula.GetNdim() <= 0:
        values[text] = None
        continue
    values[text] = []
    for entry in range(tree.GetEntries()):
        tree.LoadTree(entry)
        formula.GetNdata()
        values[text].append(formula.EvalInstance(0))
json.dump(values, sys.stdout)
