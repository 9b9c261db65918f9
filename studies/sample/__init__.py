"""Daily prices of AAPL, IBM and MSFT, 2000-03-01 to 2013-03-01; NOTICE says where they are from."""
