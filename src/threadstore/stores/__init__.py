"""The stores; each knows the contract and none knows another."""
