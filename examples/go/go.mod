module spillway-example

go 1.21
