"""The stores. Each knows the contract and none knows another; only the factory names them."""
