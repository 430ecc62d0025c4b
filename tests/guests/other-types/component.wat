(component
  (core module $module (func (export "process") (param i32) (result i32) local.get 0))
  (core instance $instance (instantiate $module))
  (func $process (param "batch" u32) (result u32) (canon lift (core func $instance "process")))
  (instance $transform (export "process" (func $process)))
  (export "tidemill:transform/transform@0.1.0" (instance $transform)))
