"""Message passing with attention: a node reads its neighbours."""
