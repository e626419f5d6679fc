"""Fits what `edgekit estimate` predicts by, from tables that are given by path and never kept here."""
