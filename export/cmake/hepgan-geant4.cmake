# Defines the target hepgan::geant4 for hepgan/geant4.hpp, if find_package(Geant4) has found Geant4.
if(Geant4_FOUND AND NOT TARGET hepgan::geant4)
  add_library(hepgan::geant4 INTERFACE IMPORTED GLOBAL)
  target_link_libraries(hepgan::geant4 INTERFACE hepgan::hepgan ${Geant4_LIBRARIES})
  target_include_directories(hepgan::geant4 SYSTEM INTERFACE ${Geant4_INCLUDE_DIRS})
endif()
