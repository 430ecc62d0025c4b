(component
  (core module $module (table 200000 funcref))
  (core instance (instantiate $module)))
